//! Which layer of a model is of which kind, where its layers are not all alike.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// What a layer sees, or does instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// Attention to everything before.
    Full,
    /// Attention to a window.
    Window,
    /// Attention within chunks of the context.
    Chunk,
    /// Attention to everything before, where positions do not turn queries and keys.
    NoPositions,
    /// Linear attention: a state of constant size.
    Linear,
    /// A state-space layer (Mamba 2): a state of constant size.
    StateSpace,
    /// A feed-forward part alone.
    FeedForward,
    /// A mixture of experts alone.
    Experts,
}

/// Each kind and the letter that files of shapes write it as.
const LETTERS: [(LayerKind, char); 8] = [
    (LayerKind::Full, 'f'),
    (LayerKind::Window, 'w'),
    (LayerKind::Chunk, 'c'),
    (LayerKind::NoPositions, 'n'),
    (LayerKind::Linear, 'l'),
    (LayerKind::StateSpace, 'm'),
    (LayerKind::FeedForward, '-'),
    (LayerKind::Experts, 'e'),
];

/// The most layers that a pattern may name.
const MOST: usize = 1 << 10;

/// The kinds of layers as a period that repeats: `wwwwwf` is five with a window and one that sees everything, over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerKinds(Vec<LayerKind>);

impl LayerKinds {
    /// The shortest period of the kinds of all layers of a model, whose last need not be whole.
    pub fn of(layers: Vec<LayerKind>) -> Result<Self, String> {
        Self::shortened(layers, |_| true)
    }

    /// The shortest period among those that `may_be`.
    fn shortened(layers: Vec<LayerKind>, may_be: impl Fn(usize) -> bool) -> Result<Self, String> {
        if !(1..=MOST).contains(&layers.len()) {
            return Err(format!("kinds of {} layers are named; there must be between 1 and {MOST}", layers.len()));
        }
        let repeats = |period: usize| layers.iter().enumerate().all(|(index, kind)| *kind == layers[index % period]);
        let period = (1..=layers.len()).find(|period| may_be(*period) && repeats(*period)).unwrap_or(layers.len());
        Ok(Self(layers[..period].to_vec()))
    }

    /// Of so many layers the last is `last`, and the others `others`.
    pub fn last_of(every: usize, others: LayerKind, last: LayerKind) -> Result<Self, String> {
        if !(1..=MOST).contains(&every) {
            return Err(format!("a period of {every} layers is named; it must be between 1 and {MOST}"));
        }
        let kind = |index| if index + 1 == every { last } else { others };
        Self::of((0..every).map(kind).collect())
    }

    /// The kind of the layer at `index`.
    pub fn at(&self, index: usize) -> LayerKind {
        self.0.get(index % self.0.len().max(1)).copied().unwrap_or(LayerKind::Full)
    }

    /// The period, where all of it but the last are alike.
    pub fn last_differs(&self) -> Option<usize> {
        let (_, others) = self.0.split_last()?;
        let first = others.first()?;
        others.iter().all(|kind| kind == first).then_some(self.0.len())
    }

    /// Whether there is a layer of a kind.
    pub fn has(&self, kind: LayerKind) -> bool {
        self.0.contains(&kind)
    }
}

impl fmt::Display for LayerKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |kind: &LayerKind| LETTERS.iter().find(|(known, _)| known == kind).map(|(_, letter)| *letter);
        f.pad(&self.0.iter().filter_map(letter).collect::<String>())
    }
}

impl FromStr for LayerKinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = |letter: char| {
            let found = LETTERS.iter().find(|(_, known)| *known == letter).map(|(kind, _)| *kind);
            found.ok_or_else(|| {
                let known: Vec<String> = LETTERS.iter().map(|(_, letter)| letter.to_string()).collect();
                format!("`{letter}` is no kind of layer; kinds are {}", known.join(", "))
            })
        };
        // What goes on behind the text is the text again: only what it is whole numbers of is its period.
        let length = text.chars().count();
        Self::shortened(text.chars().map(kind).collect::<Result<_, _>>()?, |period| length.is_multiple_of(period))
    }
}

impl Serialize for LayerKinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LayerKinds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A pattern, or as records once had it: of so many layers with a window the last sees everything.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Pattern(String),
            FullEvery(usize),
        }
        let kinds = match Written::deserialize(deserializer)? {
            Written::Pattern(text) => text.parse(),
            Written::FullEvery(every) => Self::last_of(every, LayerKind::Window, LayerKind::Full),
        };
        kinds.map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for LayerKinds {
    fn schema_name() -> Cow<'static, str> {
        "LayerKinds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The kinds of layers as a period that repeats, a letter for each: f attention to everything \
                before, w to a window, c within chunks, n to everything without positions, l linear attention, m a \
                state-space layer, - a feed-forward part alone, e a mixture of experts alone.",
            "type": "string",
            "pattern": "^[fwcnlme-]{1,1024}$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_written_as_their_shortest_period() {
        for (text, written) in
            [("wwwwwf", "wwwwwf"), ("wfwfwf", "wf"), ("fff", "f"), ("m-m*".replace('*', "f").as_str(), "m-mf")]
        {
            let kinds: LayerKinds = text.parse().unwrap();
            assert_eq!(kinds.to_string(), written);
            assert_eq!(serde_json::from_value::<LayerKinds>(serde_json::to_value(&kinds).unwrap()).unwrap(), kinds);
        }
        let kinds: LayerKinds = "lllf".parse().unwrap();
        assert_eq!((kinds.at(2), kinds.at(3), kinds.at(4)), (LayerKind::Linear, LayerKind::Full, LayerKind::Linear));
        assert_eq!(serde_json::from_str::<LayerKinds>("6").unwrap().to_string(), "wwwwwf");
        // Of 8 layers the period is 5, and what is written of it goes on as it did.
        let kinds = LayerKinds::of("mfmmfmfm".parse::<LayerKinds>().unwrap().0).unwrap();
        let read: LayerKinds = kinds.to_string().parse().unwrap();
        assert!((0..8).all(|index| read.at(index) == kinds.at(index)) && kinds.to_string() == "mfmmf");
        assert!("fx".parse::<LayerKinds>().unwrap_err().contains('x') && "".parse::<LayerKinds>().is_err());
        assert!(serde_json::from_str::<LayerKinds>("0").is_err());
    }
}
