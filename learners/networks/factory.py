"""The networks of an algorithm, made for its observations and actions: what keeps both out of the algorithms."""

from __future__ import annotations

from typing import Any

from learners.networks.critics import Critic, DiscreteCritic, EnsembleCritic, Value
from learners.networks.encoders import Encoder, Identity, ImpalaEncoder
from learners.networks.history import History
from learners.networks.normaliser import Normaliser
from learners.networks.policies import (
    CategoricalPolicy,
    DeterministicPolicy,
    GaussianPolicy,
    LikelihoodPolicy,
    TanhGaussianPolicy,
)


class NetworkFactory:
    """`shared` is the encoder that all networks read from, where there are images and the configuration says so.

    Value networks train it, and the gradients of all others end before it; a method without value networks says
    `trains_encoder=True` when it makes its policy.
    """

    def __init__(
        self, normaliser: Normaliser, config: Any, *, discrete: bool, history: int = 0, action_chunk: int = 0
    ) -> None:
        """Observations come with as many as `history` before them (`History`), and actions in chunks of that many,
        joined to one vector, where `action_chunk` is not 0."""
        seen = History(history)
        self._images, self._vector_size = seen.images(normaliser), seen.vector_size(normaliser)
        self._config = config
        """Of those groups of knobs that the networks that are asked for have."""
        self._discrete = discrete
        self.action_size = normaliser.action_size * max(1, action_chunk)
        self.shared = self._image_encoder() if self._images and config.encoder == "shared" else None

    def encoder(self, *, trains_encoder: bool) -> Encoder:
        """For one network: its own, or a window to the shared one."""
        if self.shared is not None:
            return Identity(self.shared.size, detach=not trains_encoder)
        return self._image_encoder() if self._images else Identity(self._vector_size)

    def _image_encoder(self) -> Encoder:
        return ImpalaEncoder(self._images, self._vector_size, width=self._config.encoder_width)

    # --- Values ---

    @property
    def _values(self) -> dict[str, Any]:
        return {"layer_norm": self._config.layer_norm, "dropout": self._config.value_dropout}

    def value(self) -> Value:
        return Value(self.encoder(trains_encoder=True), self._config.hidden, **self._values)

    def critic(self, members: int) -> Critic:
        """By the kind of the actions."""
        return self.discrete_critic(members) if self._discrete else self.continuous_critic(members)

    def continuous_critic(self, members: int) -> EnsembleCritic:
        """Actions are an input: one may ask for gradients with respect to them."""
        encoder = self.encoder(trains_encoder=True)
        return EnsembleCritic(members, encoder, self.action_size, self._config.hidden, **self._values)

    def discrete_critic(self, members: int) -> DiscreteCritic:
        """Actions are outputs: one may ask for all of them at once."""
        encoder = self.encoder(trains_encoder=True)
        return DiscreteCritic(members, encoder, self.action_size, self._config.hidden, **self._values)

    # --- Policies ---

    @property
    def _policies(self) -> dict[str, Any]:
        return {"dropout": self._config.dropout}

    def likelihood_policy(self, *, std: float | None = None, trains_encoder: bool = False) -> LikelihoodPolicy:
        """By the kind of the actions; `std` is for continuous ones, learned where it is None."""
        encoder, hidden = self.encoder(trains_encoder=trains_encoder), self._config.hidden
        if self._discrete:
            return CategoricalPolicy(encoder, self.action_size, hidden, **self._policies)
        return GaussianPolicy(encoder, self.action_size, hidden, std=std, **self._policies)

    def categorical_policy(self) -> CategoricalPolicy:
        encoder = self.encoder(trains_encoder=False)
        return CategoricalPolicy(encoder, self.action_size, self._config.hidden, **self._policies)

    def deterministic_policy(self, *, trains_encoder: bool = False) -> DeterministicPolicy:
        encoder = self.encoder(trains_encoder=trains_encoder)
        return DeterministicPolicy(encoder, self.action_size, self._config.hidden, **self._policies)

    def tanh_gaussian_policy(self, *, log_std_min: float = -20.0) -> TanhGaussianPolicy:
        encoder = self.encoder(trains_encoder=False)
        return TanhGaussianPolicy(
            encoder, self.action_size, self._config.hidden, log_std_min=log_std_min, **self._policies
        )
