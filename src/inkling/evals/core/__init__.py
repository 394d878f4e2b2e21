"""CORE: 22 tasks for base models, few-shot, as one number. Li et al. 2024, "DataComp-LM"."""
