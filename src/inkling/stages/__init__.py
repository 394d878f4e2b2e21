"""One readable main(settings) per verb."""
