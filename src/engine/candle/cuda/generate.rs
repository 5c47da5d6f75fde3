//! Prefill and greedy decoding on a card, with the host out of the way: a decode step is recorded once as a graph and
//! replayed, and the next one is launched before the tokens of the last have arrived.

use super::CudaDecoder;
use crate::device::cuda::{CudaError, Graph, Marker, Pinned};
use crate::engine::{EngineError, Generated, Step};

/// Prefills `prompts` and decodes greedily until each sequence has `gen_tokens` tokens.
///
/// `step` is called when the tokens of a step are on the host: that is the time of the token. The step after it is
/// under way by then, as its input never leaves the card.
pub(super) fn generate(
    decoder: &mut CudaDecoder,
    prompts: &[Vec<u32>],
    gen_tokens: usize,
    step: Step<'_>,
) -> Result<Generated, EngineError> {
    let batch = prompts.len();
    let seq = prompts.first().map_or(0, Vec::len);
    let mut tokens = vec![Vec::with_capacity(gen_tokens); batch];
    let card = decoder.card().clone();
    decoder.reset()?;
    decoder.set_ids(&prompts.concat())?;
    // Two of each: one that is waited for, one that is under way.
    let mut arrivals = [Arrival::new(&card, batch)?, Arrival::new(&card, batch)?];
    decoder.step(seq)?;
    arrivals[0].begin(decoder)?;
    let mut graph: Option<Graph> = None;
    for index in 0..gen_tokens {
        if index + 1 < gen_tokens {
            launch_next(decoder, &mut graph, index)?;
            arrivals[(index + 1) % 2].begin(decoder)?;
        }
        for (sequence, token) in tokens.iter_mut().zip(arrivals[index % 2].wait()?) {
            sequence.push(*token);
        }
        if step().is_break() {
            // What is under way still writes to this room.
            card.synchronize()?;
            return Err(EngineError::Stopped);
        }
    }
    Ok(Generated { tokens, finite: decoder.was_finite()? })
}

/// Launches a decode step: the first as it is, so that every kernel is loaded, the later ones as a graph of it.
fn launch_next(decoder: &CudaDecoder, graph: &mut Option<Graph>, index: usize) -> Result<(), CudaError> {
    match (index, &graph) {
        (0, _) => return decoder.step(1),
        (_, Some(recorded)) => return recorded.launch(),
        (_, None) => {}
    }
    let recorded = decoder.card().record(|| decoder.step(1))?;
    recorded.launch()?;
    *graph = Some(recorded);
    Ok(())
}

/// Tokens on their way to the host.
struct Arrival {
    tokens: Pinned,
    marker: Marker,
}

impl Arrival {
    fn new(card: &crate::device::cuda::Card, batch: usize) -> Result<Self, CudaError> {
        Ok(Self { tokens: Pinned::new(card, batch * 4)?, marker: Marker::new(card)? })
    }

    /// Sends the tokens that the last step chose.
    fn begin(&mut self, decoder: &CudaDecoder) -> Result<(), CudaError> {
        self.tokens.receive(decoder.card().stream(), decoder.ids()?)?;
        self.marker.record(decoder.card())
    }

    fn wait(&self) -> Result<&[u32], CudaError> {
        self.marker.wait()?;
        Ok(self.tokens.words())
    }
}
