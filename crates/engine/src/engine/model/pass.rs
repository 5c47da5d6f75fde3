//! The forward pass: the parts of a model one after the other, on whatever computes. There is one for all families and all
//! backends.

use super::{Block, InputEmbedding, Model};
use crate::engine::backend::{Backend, Norm, ProductInput, Selected};
use crate::workload::model::parts::NormPlace;
use crate::workload::model::tensors::BlockTensor;

/// Is shown the inputs of products as they are computed.
pub type ActivationHook<'a, B> =
    &'a mut dyn FnMut(ProductInput, &<B as Backend>::Rows) -> Result<(), <B as Backend>::Error>;

/// An error of a model that lacks what its parts say, which a loaded model cannot.
fn missing<E: From<candle_core::Error>>(what: String) -> E {
    E::from(candle_core::Error::Msg(what))
}

fn one<E: From<candle_core::Error>, R>(made: Vec<R>) -> Result<R, E> {
    made.into_iter().next().ok_or_else(|| missing("a product is missing".to_string()))
}

impl<B: Backend> Block<B> {
    /// A norm that a block of its parts has.
    fn norm(&self, tensor: BlockTensor) -> Result<&Norm<B::Vector>, B::Error> {
        self.norms.get(&tensor).ok_or_else(|| missing(format!("the block has no {tensor:?}")))
    }

    /// What a part reads of the stream.
    fn read(&self, backend: &B, stream: &mut B::Stream, norm: BlockTensor) -> Result<B::Rows, B::Error> {
        match self.parts.norms {
            NormPlace::Before | NormPlace::Around | NormPlace::BeforeBoth => backend.norm(stream, self.norm(norm)?),
            NormPlace::BeforeFeedForward if norm == BlockTensor::AttentionNorm => backend.rows(stream),
            NormPlace::BeforeFeedForward => backend.norm(stream, self.norm(norm)?),
            NormPlace::Behind | NormPlace::BehindParts => backend.rows(stream),
        }
    }

    /// Adds what a part has made, normed before or behind where the block asks for it.
    fn add(
        &self,
        backend: &B,
        stream: &mut B::Stream,
        made: B::Rows,
        (norm, post_norm): (BlockTensor, BlockTensor),
    ) -> Result<(), B::Error> {
        match self.parts.norms {
            NormPlace::Before | NormPlace::BeforeBoth | NormPlace::BeforeFeedForward => backend.add(stream, made),
            NormPlace::Around | NormPlace::BehindParts => {
                backend.add(stream, backend.norm_rows(made, self.norm(post_norm)?)?)
            }
            NormPlace::Behind => {
                backend.add(stream, made)?;
                backend.norm_stream(stream, self.norm(norm)?)
            }
        }
    }

    /// Adds what the block makes of the stream; `hook` is shown what each of the products reads.
    pub(super) fn forward(
        &mut self,
        backend: &B,
        stream: &mut B::Stream,
        pass: &B::Pass,
        hook: ActivationHook<'_, B>,
    ) -> Result<(), B::Error> {
        use BlockTensor::{AttentionNorm, AttentionPostNorm, FeedForwardNorm, FeedForwardPostNorm};
        let rows = self.read(backend, stream, AttentionNorm)?;
        hook(ProductInput::AttentionNorm, &rows)?;
        let attended = self.attend(backend, &rows, pass)?;
        hook(ProductInput::Attention, &attended)?;
        let made = one(backend.products(ProductInput::Attention, &self.matrices.attention_output, &attended)?)?;
        self.add(backend, stream, made, (AttentionNorm, AttentionPostNorm))?;
        let rows = match self.parts.norms {
            // What attention has read.
            NormPlace::BeforeBoth => rows,
            _ => self.read(backend, stream, FeedForwardNorm)?,
        };
        hook(ProductInput::FeedForwardNorm, &rows)?;
        let made = if self.parts.feed_forward.gated {
            backend.in_pieces(&rows, &mut |rows| self.feed_forward(backend, rows, &mut *hook))?
        } else {
            self.feed_forward(backend, &rows, hook)?
        };
        self.add(backend, stream, made, (FeedForwardNorm, FeedForwardPostNorm))
    }

    /// Attention before its output matrix.
    fn attend(&mut self, backend: &B, rows: &B::Rows, pass: &B::Pass) -> Result<B::Rows, B::Error> {
        use BlockTensor::{KeyNorm, QueryNorm};
        let made = backend.products(ProductInput::AttentionNorm, &self.matrices.inputs, rows)?;
        let Ok(query_key_value) = <[B::Rows; 3]>::try_from(made) else {
            return Err(missing("a product is missing".to_string()));
        };
        let norms = [self.norms.get(&QueryNorm), self.norms.get(&KeyNorm)];
        backend.attend(&self.parts.attention, query_key_value, norms, self.cache.as_mut(), pass)
    }

    /// What each position becomes by itself.
    fn feed_forward(&self, backend: &B, rows: &B::Rows, hook: ActivationHook<'_, B>) -> Result<B::Rows, B::Error> {
        let mut made = backend.products(ProductInput::FeedForwardNorm, &self.matrices.gate_up, rows)?;
        let up = made.pop().ok_or_else(|| missing("a product is missing".to_string()))?;
        let activated = backend.activate(self.parts.feed_forward.activation, made.pop(), up)?;
        hook(ProductInput::Gated, &activated)?;
        one(backend.products(ProductInput::Gated, &self.matrices.down, &activated)?)
    }
}

impl<B: Backend> Model<B> {
    /// What the input becomes before the first block.
    pub(in crate::engine) fn embed(&self, input: &B::Input) -> Result<B::Stream, B::Error> {
        let (table, scale, learned) = match &self.begin {
            InputEmbedding::Patches(patches) => return patches.embed(&self.backend, input),
            InputEmbedding::Tokens { table, scale, learned } => (table, scale, learned),
        };
        let mut stream = self.backend.embed(table, input)?;
        if let Some(scale) = scale {
            self.backend.scale(&mut stream, *scale)?;
        }
        if let Some((positions, norm)) = learned {
            self.backend.add_positions(&mut stream, positions)?;
            self.backend.norm_stream(&mut stream, norm)?;
        }
        Ok(stream)
    }

    /// What all blocks make of the input.
    pub(in crate::engine) fn run(&mut self, input: &B::Input, pass: &B::Pass) -> Result<B::Stream, B::Error> {
        let mut stream = self.embed(input)?;
        for block in &mut self.blocks {
            block.forward(&self.backend, &mut stream, pass, &mut |_, _| Ok(()))?;
        }
        Ok(stream)
    }

    /// The selected positions behind the last block, normed where the model norms them.
    pub(in crate::engine) fn finish(&self, stream: &mut B::Stream, selected: Selected) -> Result<B::Rows, B::Error> {
        match &self.final_norm {
            Some(norm) => self.backend.norm_selected(stream, selected, norm),
            None => self.backend.rows(stream),
        }
    }

    /// The logits of rows that were finished: `(.., hidden)` to `(.., vocab)`.
    pub(in crate::engine) fn logits(&self, rows: &B::Rows) -> Result<B::Rows, B::Error> {
        let matrices = self.logits_matrices().ok_or_else(|| missing("the model makes no logits".to_string()))?;
        one(self.backend.products(ProductInput::Head, matrices, rows)?)
    }

    /// The patches of a model that takes images.
    pub(in crate::engine) fn patches_mut(&mut self) -> Option<(&mut super::images::Patches<B>, &B)> {
        match &mut self.begin {
            InputEmbedding::Patches(patches) => Some((patches, &self.backend)),
            InputEmbedding::Tokens { .. } => None,
        }
    }
}
