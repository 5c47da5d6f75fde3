//! How near a projection is to something measured, and the least margin that each distance gets.

use super::card::Card;
use super::relatives::Configuration;
use super::terms::Phase;
use serde::Serialize;
use std::fmt;

/// From nearest to farthest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Tier {
    /// Measured on this instance type.
    M,
    /// This card was measured with this engine and model, on another host.
    I,
    /// This card was measured with this engine, at other sizes.
    S,
    /// Another card was measured with this engine, of the same or a neighbouring generation.
    X,
    /// Nothing that near was measured with this engine.
    F,
}

impl Tier {
    /// Its letter.
    pub fn letter(self) -> &'static str {
        match self {
            Self::M => "M",
            Self::I => "I",
            Self::S => "S",
            Self::X => "X",
            Self::F => "F",
        }
    }

    /// What it means.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::M => "measured on this type",
            Self::I => "this card was measured on another host",
            Self::S => "this card was measured at other sizes",
            Self::X => "a card of the same or a neighbouring generation was measured",
            Self::F => "no card like it was measured with this engine",
        }
    }

    /// The factor that margins are given where too few cards were left out to compute one, and that they are never below
    /// for the nearest and the farthest (docs/method/projection.md#tiers; docs/results/2026-11-24-projection.md has where they are from).
    pub fn factor(self, phase: Phase, varies: bool) -> f64 {
        match (self, phase) {
            (Self::M, _) => 1.0,
            (Self::I, Phase::Decode) if varies => 1.3,
            (Self::I, Phase::Decode) => 1.05,
            (Self::I, _) => 1.08,
            (Self::S, Phase::Decode) => 1.10,
            (Self::S, _) => 1.15,
            (Self::X, Phase::Decode) => 1.25,
            (Self::X, _) => 1.4,
            (Self::F, Phase::Decode) => 1.4,
            (Self::F, _) => 1.7,
        }
    }

    /// The tier of a place, by what was measured.
    pub fn of(place: &Configuration, measured: &[Configuration]) -> Self {
        let mut same_engine = measured.iter().filter(|known| known.engine == place.engine).peekable();
        if same_engine.peek().is_none() {
            return Self::F;
        }
        let near = |a: &Card, b: &Card| a.generation().abs_diff(b.generation()) <= 1;
        let mut tier = Self::F;
        let mut cards: Vec<&str> = Vec::new();
        for known in same_engine {
            let same_card = known.card.id == place.card.id;
            let same_case = known.model == place.model && known.quant == place.quant && known.batch == place.batch;
            tier = tier.min(match (same_card, same_case) {
                (true, true) => Self::I,
                (true, false) => Self::S,
                (false, _) if near(&known.card, &place.card) => Self::X,
                (false, _) => Self::F,
            });
            if !cards.contains(&&*known.card.id) {
                cards.push(&known.card.id);
            }
        }
        // One card alone does not show how speed goes with the figures of cards.
        if tier == Self::X && cards.len() == 1 { Self::F } else { tier }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.letter())
    }
}
