//! Prefill and greedy decoding on a card, with the host out of the way: a decode step is recorded once as a graph and
//! replayed, and the next one is launched before the tokens of the last have arrived.

use super::CudaModel;
use crate::device::cuda::{Card, CudaError, Graph, Marker, Pinned};
use crate::engine::{EngineError, Generated, Step};

/// The recorded graph of a decode step, and the transfer of its tokens. It belongs to the buffers that were allocated when
/// it was made, and lasts for all iterations in it: recording and locking memory cost more than a step does.
pub(super) struct DecodeGraph {
    /// A decode step ran as it is, so that every kernel of it is loaded.
    ran: bool,
    graph: Option<Graph>,
    /// One that is waited for, one that is under way.
    transfers: [TokenTransfer; 2],
}

impl DecodeGraph {
    /// For `batch` sequences.
    pub(crate) fn new(card: &Card, batch: usize) -> Result<Self, CudaError> {
        Ok(Self {
            ran: false,
            graph: None,
            transfers: [TokenTransfer::new(card, batch)?, TokenTransfer::new(card, batch)?],
        })
    }

    /// Prefills `prompts` and decodes greedily until each sequence has `gen_tokens` tokens.
    ///
    /// `step` is called when the tokens of a step are on the host: that is the time of the token. The step after it is
    /// under way by then, as its input never leaves the card.
    pub(crate) fn generate(
        &mut self,
        decoder: &mut CudaModel,
        prompts: &[Vec<u32>],
        gen_tokens: usize,
        step: Step<'_>,
    ) -> Result<Generated, EngineError> {
        let seq = prompts.first().map_or(0, Vec::len);
        let mut tokens = vec![Vec::with_capacity(gen_tokens); prompts.len()];
        decoder.reset()?;
        decoder.set_ids(&prompts.concat())?;
        decoder.step(seq)?;
        self.transfers[0].begin(decoder)?;
        for index in 0..gen_tokens {
            if index + 1 < gen_tokens {
                self.launch_next(decoder)?;
                self.transfers[(index + 1) % 2].begin(decoder)?;
            }
            for (sequence, token) in tokens.iter_mut().zip(self.transfers[index % 2].wait()?) {
                sequence.push(*token);
            }
            if step().is_break() {
                // What is under way still writes to the buffers.
                decoder.card().synchronize()?;
                return Err(EngineError::Stopped);
            }
        }
        Ok(Generated { tokens, finite: decoder.was_finite()? })
    }

    /// Launches a decode step: the first one as it is, the later ones as a graph of it.
    fn launch_next(&mut self, decoder: &mut CudaModel) -> Result<(), CudaError> {
        if !self.ran {
            self.ran = true;
            return decoder.step(1);
        }
        let graph = match self.graph.take() {
            Some(graph) => graph,
            None => decoder.card().clone().record(|| decoder.step(1))?,
        };
        self.graph.insert(graph).launch()
    }
}

/// Tokens on their way to the host.
struct TokenTransfer {
    tokens: Pinned,
    marker: Marker,
}

impl TokenTransfer {
    fn new(card: &Card, batch: usize) -> Result<Self, CudaError> {
        Ok(Self { tokens: Pinned::new(card, batch * 4)?, marker: Marker::new(card)? })
    }

    /// Sends the tokens that the last step chose.
    fn begin(&mut self, decoder: &CudaModel) -> Result<(), CudaError> {
        self.tokens.receive(decoder.card().stream(), decoder.ids()?)?;
        self.marker.record(decoder.card())
    }

    fn wait(&self) -> Result<&[u32], CudaError> {
        self.marker.wait()?;
        Ok(self.tokens.words())
    }
}
