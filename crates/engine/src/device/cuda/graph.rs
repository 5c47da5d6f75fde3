//! Work that is recorded once and replayed with one call, and marks in a stream that the host can wait for.

use super::{Card, CudaError, WithOperation};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaGraph};

/// Recorded launches.
pub struct Graph(CudaGraph);

impl Graph {
    /// Launches all of it.
    pub fn launch(&self) -> Result<(), CudaError> {
        self.0.launch().during("launching a graph")
    }
}

/// A place in the stream.
pub struct Marker(CudaEvent);

impl Marker {
    /// A mark that has not been set.
    pub fn new(card: &Card) -> Result<Self, CudaError> {
        Ok(Self(card.context().new_event(None).during("making an event")?))
    }

    /// Sets it behind all that was launched.
    pub fn record(&self, card: &Card) -> Result<(), CudaError> {
        self.0.record(card.stream()).during("recording an event")
    }

    /// Waits until everything before it is done.
    pub fn wait(&self) -> Result<(), CudaError> {
        self.0.synchronize().during("running a kernel")
    }
}

impl Card {
    /// Records what `work` launches instead of running it. It may neither wait nor allocate, and must have run once, so
    /// that its kernels are loaded.
    pub fn record(&self, work: impl FnOnce() -> Result<(), CudaError>) -> Result<Graph, CudaError> {
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream().begin_capture(mode).during("recording a graph")?;
        let worked = work();
        // The capture has to end whatever came of the work.
        let graph = self.stream().end_capture(CUgraphInstantiate_flags(0)).during("recording a graph");
        worked?;
        let empty = || CudaError::Driver { what: "recording a graph".to_string(), why: "nothing was recorded".into() };
        graph?.map(Graph).ok_or_else(empty)
    }
}
