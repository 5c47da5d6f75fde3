//! What models are for.

use serde::Serialize;

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Text, token by token.
    Generate,
    /// A vector for each text.
    Embed,
    /// A class for each image.
    ClassifyImage,
}

impl Task {
    /// As `sizewell` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Embed => "embed",
            Self::ClassifyImage => "classify-image",
        }
    }

    /// What one request gives, in the plural.
    pub fn results(self) -> &'static str {
        match self {
            Self::Generate => "requests",
            Self::Embed => "embeddings",
            Self::ClassifyImage => "images",
        }
    }
}
