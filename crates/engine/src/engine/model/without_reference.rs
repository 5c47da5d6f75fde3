//! What stands for candle-transformers in a program that is built without it: nothing can be loaded.

use crate::engine::session::encoder::Forward;
use crate::engine::weights::{ModelError, WeightSource};
use crate::units::Bytes;
use crate::workload::{Architecture, Encoding, ModelShape, Quant};
use candle_core::{DType, Result, Tensor};

const ABSENT: &str = "this program is built without candle-transformers, by which encoders run on candle's kernels: \
                      build it with the feature `reference` (it is one of the default features), or leave --kernels out";

/// Whether encoders can run by candle-transformers; where not, what to build.
pub fn check() -> std::result::Result<(), String> {
    Err(ABSENT.to_string())
}

/// Candle's type for weights of a model at a level: none, as nothing here takes them.
pub fn dtype(_: Architecture, _: Quant) -> std::result::Result<DType, String> {
    Err(ABSENT.to_string())
}

/// An encoder of candle-transformers: there is none.
pub enum Reference {}

impl Reference {
    /// Always an error, which says what to build.
    pub fn load(
        _: &ModelShape,
        _: &mut dyn WeightSource,
        _: Quant,
        _: &mut dyn FnMut(usize, usize),
    ) -> std::result::Result<Self, ModelError> {
        Err(ModelError::new("candle-transformers", ABSENT))
    }
}

impl Forward for Reference {
    fn hidden(&mut self, _: &Tensor) -> Result<Tensor> {
        match *self {}
    }

    fn logits(&mut self, _: &Tensor) -> Result<Tensor> {
        match *self {}
    }

    fn matrix_bytes(&self) -> Bytes {
        match *self {}
    }

    fn encodings(&self) -> &[(Encoding, usize)] {
        match *self {}
    }
}
