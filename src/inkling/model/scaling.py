"""How loss falls with parameters and tokens, and how to share out a budget of FLOPs: the Chinchilla laws.

Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models". Everywhere N is the number of parameters,
D of training tokens, C of floating-point operations, and C ≈ 6 N D.
"""

from dataclasses import dataclass

TOKENS_PER_PARAMETER = 20  # the rule of thumb that approaches 1 and 2 of the paper come to


@dataclass(frozen=True)
class LossFit:
    """L(N, D) = E + A / N^alpha + B / D^beta, in nats per token.

    E is what no model could save, the entropy of the text; the others are the price of a finite model and of
    finite data. A fit belongs to its text and its tokenizer: the shape carries over to others, the numbers do not.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """The loss that the fit expects."""
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta

    def optimum(self, flops: float) -> tuple[float, float]:
        """The (N, D) with the lowest loss among those that cost `flops` = 6 N D.

        Setting the derivative along N D = C/6 to zero gives alpha A / N^alpha = beta B / D^beta, and from it
        N = G (C/6)^(beta/(alpha+beta)) with G = (alpha A / (beta B))^(1/(alpha+beta)).
        """
        product = flops / 6
        balance = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        parameters = balance * product ** (self.beta / (self.alpha + self.beta))
        return parameters, product / parameters

    def optimal_flops(self, parameters: float) -> float:
        """The budget at which a model of this size is the best choice: the inverse of `optimum`."""
        balance = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        return 6 * (parameters / balance) ** ((self.alpha + self.beta) / self.beta)


# Approach 3 of the paper, as its section 3.3 prints it.
CHINCHILLA = LossFit(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
# The same before rounding, from the paper's TeX source as Besiroglu et al. report it. Two digits of an exponent
# are worth half the tokens: with these the paper's own table A3 comes out, with the printed ones it does not.
CHINCHILLA_UNROUNDED = LossFit(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)
# Besiroglu et al. 2024, "Chinchilla Scaling: A replication attempt": fitted anew to the data of the paper's plots,
# because the original optimiser had stopped too early.
REPLICATION = LossFit(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)


def training_flops(parameters: float, tokens: float) -> float:
    """C ≈ 6 N D: two operations for each weight and token on the way forward, four on the way back.

    Kaplan et al. 2020, "Scaling Laws for Neural Language Models". `cost.flops_per_token` counts exactly.
    """
    return 6 * parameters * tokens


def optimum_by_rule(flops: float) -> tuple[float, float]:
    """(N, D) for a budget by the rule D = 20 N."""
    parameters = (flops / (6 * TOKENS_PER_PARAMETER)) ** 0.5
    return parameters, TOKENS_PER_PARAMETER * parameters
