//! Continuous batching: sequences join and leave the batch between two passes. Every pass takes one token of each sequence
//! that decodes and, beside them, at most so many tokens of prompts; a sequence gets a place in the cache when one is free,
//! first come first served.

pub mod target;

use super::{EngineError, panic_message};
use crate::record::PhaseTimes;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A piece of a sequence for one pass.
pub use super::model::ragged::Segment;

/// A model that runs pieces of several sequences in one pass.
pub trait BatchModel: Send {
    /// Places in the cache.
    fn slots(&self) -> usize;

    /// Positions of each.
    fn slot_tokens(&self) -> usize;

    /// Runs a pass and gives the next token of each piece that is sampled, in order.
    fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, EngineError>;

    /// Makes it ready again after a pass that panicked, which may have left anything in the cache: every place is empty
    /// then. An error where it does not compute any more.
    fn recover(&mut self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// What happens to a sequence: its tokens, then its end.
#[derive(Debug, Clone, PartialEq)]
pub enum SequenceEvent {
    /// The next token.
    Token(u32),
    /// All tokens are there; where the time went, as the engine sees it (tokenizing and transfer are not its own).
    Done(PhaseTimes),
    /// The engine cannot do it.
    Failed(String),
}

/// A sequence that is to be generated.
struct Job {
    prompt: Vec<u32>,
    gen_tokens: usize,
    tell: UnboundedSender<SequenceEvent>,
    came: Instant,
}

/// A sequence with a place in the cache.
struct Active {
    job: Job,
    slot: usize,
    /// Positions that the cache holds.
    filled: usize,
    /// The token that goes in next, once the prompt is through.
    last: Option<u32>,
    made: usize,
    admitted: Instant,
    first: Option<Instant>,
}

/// Counts that others may look at.
#[derive(Debug, Default)]
pub struct Load {
    /// Sequences that wait for a place.
    pub waiting: AtomicUsize,
    /// Sequences with a place.
    pub active: AtomicUsize,
    /// Passes that panicked; the engine came back after each of them but, where [`Load::gone`] says so, the last.
    pub crashes: AtomicUsize,
    gone: OnceLock<String>,
}

impl Load {
    /// Why the engine has ended for good, where it has.
    pub fn gone(&self) -> Option<&str> {
        self.gone.get().map(String::as_str)
    }

    /// Nobody is served any more.
    fn end(&self, why: &str) {
        let _ = self.gone.set(why.to_string());
        self.waiting.store(0, Ordering::Relaxed);
        self.active.store(0, Ordering::Relaxed);
    }
}

/// A running scheduler: dropping the last handle ends its thread.
#[derive(Clone)]
pub struct Scheduler {
    jobs: Sender<Job>,
    /// Positions of a place.
    pub slot_tokens: usize,
    /// How much it has to do.
    pub load: Arc<Load>,
}

impl Scheduler {
    /// Starts a thread that runs `model`.
    pub fn start(model: Box<dyn BatchModel>, prefill_chunk: usize) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let load = Arc::new(Load::default());
        let slot_tokens = model.slot_tokens();
        let watched = load.clone();
        std::thread::Builder::new().name("sizewell-engine".to_string()).spawn(move || {
            let run = || Loop::new(model, prefill_chunk.max(1), watched.clone()).run(&queue);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                watched.end(&format!("the scheduler crashed: {}", panic_message(panic.as_ref())));
            }
        })?;
        Ok(Self { jobs, slot_tokens, load })
    }

    /// Asks for `gen_tokens` tokens behind `prompt`. What comes of it comes through the receiver; dropping that takes the
    /// sequence out of the batch.
    pub fn submit(&self, prompt: Vec<u32>, gen_tokens: usize) -> UnboundedReceiver<SequenceEvent> {
        let (tell, events) = unbounded_channel();
        if let Some(why) = self.load.gone() {
            let _ = tell.send(SequenceEvent::Failed(stopped(why)));
            return events;
        }
        let context = prompt.len().saturating_add(gen_tokens);
        if prompt.is_empty() || gen_tokens == 0 || context > self.slot_tokens {
            let why = if context > self.slot_tokens {
                format!("{context} tokens do not fit a place of {} in the cache", self.slot_tokens)
            } else {
                "a prompt and an answer have at least one token".to_string()
            };
            let _ = tell.send(SequenceEvent::Failed(why));
            return events;
        }
        self.load.waiting.fetch_add(1, Ordering::Relaxed);
        let job = Job { prompt, gen_tokens, tell, came: Instant::now() };
        if let Err(back) = self.jobs.send(job) {
            let _ = back.0.tell.send(SequenceEvent::Failed(stopped(self.load.gone().unwrap_or("nobody runs it"))));
        }
        events
    }
}

/// What sequences are told when there is no engine any more.
fn stopped(why: &str) -> String {
    format!("the engine has stopped ({why}): start it again")
}

/// The thread's state.
struct Loop {
    model: Box<dyn BatchModel>,
    prefill_chunk: usize,
    waiting: VecDeque<Job>,
    active: Vec<Active>,
    free: Vec<usize>,
    load: Arc<Load>,
}

impl Loop {
    fn new(model: Box<dyn BatchModel>, prefill_chunk: usize, load: Arc<Load>) -> Self {
        let free = (0..model.slots()).rev().collect();
        Self { model, prefill_chunk, waiting: VecDeque::new(), active: Vec::new(), free, load }
    }

    fn run(mut self, queue: &Receiver<Job>) {
        while self.take(queue) {
            self.admit();
            if !self.active.is_empty()
                && let Err(why) = self.pass()
            {
                self.give_up(queue, &why);
                return;
            }
        }
    }

    /// Tells everybody that nothing comes any more. Whoever asks between this and the end of the queue is told by that end.
    fn give_up(&mut self, queue: &Receiver<Job>, why: &str) {
        self.load.end(why);
        let jobs = self.active.drain(..).map(|active| active.job).chain(self.waiting.drain(..)).chain(queue.try_iter());
        for job in jobs {
            let _ = job.tell.send(SequenceEvent::Failed(stopped(why)));
        }
        self.load.end(why);
    }

    /// Takes what has come; waits for something where there is nothing to do. `false` when nobody can ask any more.
    fn take(&mut self, queue: &Receiver<Job>) -> bool {
        loop {
            match queue.try_recv() {
                Ok(job) => self.waiting.push_back(job),
                Err(TryRecvError::Empty) if self.active.is_empty() && self.waiting.is_empty() => {
                    match queue.recv_timeout(Duration::from_secs(3600)) {
                        Ok(job) => self.waiting.push_back(job),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return false,
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return !self.active.is_empty() || !self.waiting.is_empty(),
            }
        }
    }

    /// Gives places to those who have waited longest.
    fn admit(&mut self) {
        while let Some(slot) = self.free.last().copied() {
            let Some(job) = self.waiting.pop_front() else { break };
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
            if job.tell.is_closed() {
                continue;
            }
            self.free.pop();
            let admitted = Instant::now();
            self.active.push(Active { job, slot, filled: 0, last: None, made: 0, admitted, first: None });
        }
        self.load.active.store(self.active.len(), Ordering::Relaxed);
    }

    /// One pass: every sequence that decodes, and chunks of prompts in the order of their coming. One that fails or panics is
    /// the end of the sequences that are in it, and of nothing else. The error says why the engine cannot go on.
    fn pass(&mut self) -> Result<(), String> {
        let taken = self.next_pieces();
        let segment = |(index, tokens): &(usize, usize)| self.active[*index].segment(*tokens);
        let segments: Vec<Segment<'_>> = taken.iter().map(segment).collect();
        let sampled: Vec<bool> = segments.iter().map(|segment| segment.sampled).collect();
        let model = &mut self.model;
        match catch_unwind(AssertUnwindSafe(|| model.pass(&segments))) {
            Ok(Ok(tokens)) => {
                let mut tokens = tokens.into_iter();
                for ((index, count), sampled) in taken.into_iter().zip(sampled) {
                    self.active[index].filled += count;
                    if let Some(token) = sampled.then(|| tokens.next()).flatten() {
                        self.active[index].got(token);
                    }
                }
            }
            // Nothing that is asked later could be answered either.
            Ok(Err(EngineError::DeviceLost(why))) => {
                self.fail(&taken, &why);
                return Err(why);
            }
            Ok(Err(error)) => self.fail(&taken, &error.to_string()),
            Err(panic) => {
                let why = format!("a pass of the engine crashed: {}", panic_message(panic.as_ref()));
                self.fail(&taken, &why);
                self.recover(&why)?;
            }
        }
        self.release();
        Ok(())
    }

    /// What the next pass is made of: which sequences, and how many tokens of each. Those that decode come first, so that one
    /// call attends to all of them.
    fn next_pieces(&mut self) -> Vec<(usize, usize)> {
        self.active.sort_by_key(|active| (active.last.is_none(), active.admitted));
        let mut budget = self.prefill_chunk;
        let mut taken: Vec<(usize, usize)> = Vec::with_capacity(self.active.len());
        for (index, active) in self.active.iter().enumerate() {
            let tokens = match active.last {
                Some(_) => 1,
                None => (active.job.prompt.len() - active.filled).min(budget),
            };
            if active.last.is_none() {
                budget -= tokens;
            }
            if tokens > 0 {
                taken.push((index, tokens));
            }
        }
        taken
    }

    /// Gives back the places of sequences that have ended or that nobody waits for.
    fn release(&mut self) {
        let free = &mut self.free;
        self.active.retain(|active| {
            let over = active.made == active.job.gen_tokens || active.job.tell.is_closed();
            if over {
                free.push(active.slot);
            }
            !over
        });
        self.load.active.store(self.active.len(), Ordering::Relaxed);
    }

    /// Ends the sequences that were `taken` into a pass.
    fn fail(&mut self, taken: &[(usize, usize)], why: &str) {
        let mut index = 0;
        let free = &mut self.free;
        self.active.retain(|active| {
            let is_in = taken.iter().any(|(taken, _)| *taken == index);
            index += 1;
            if is_in {
                let _ = active.job.tell.send(SequenceEvent::Failed(why.to_string()));
                free.push(active.slot);
            }
            !is_in
        });
    }

    /// Makes the model ready again; those that waited with a part of their prompt in the cache begin anew.
    fn recover(&mut self, why: &str) -> Result<(), String> {
        self.load.crashes.fetch_add(1, Ordering::Relaxed);
        let model = &mut self.model;
        match catch_unwind(AssertUnwindSafe(|| model.recover())) {
            Ok(Ok(())) => {
                self.active.iter_mut().for_each(|active| active.filled = 0);
                Ok(())
            }
            Ok(Err(error)) => Err(format!("{why}; it did not come back: {error}")),
            Err(panic) => Err(format!("{why}; it did not come back: {}", panic_message(panic.as_ref()))),
        }
    }
}

impl Active {
    /// The next `tokens` of it.
    fn segment(&self, tokens: usize) -> Segment<'_> {
        let (row, past) = (self.slot, self.filled);
        match &self.last {
            Some(last) => Segment { row, past, tokens: std::slice::from_ref(last), sampled: true },
            None => Segment {
                row,
                past,
                tokens: &self.job.prompt[past..past + tokens],
                sampled: past + tokens == self.job.prompt.len(),
            },
        }
    }

    fn got(&mut self, token: u32) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(token);
        self.made += 1;
        let _ = self.job.tell.send(SequenceEvent::Token(token));
        if self.made == self.job.gen_tokens {
            let first = self.first.unwrap_or(now);
            let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
            let _ = self.job.tell.send(SequenceEvent::Done(PhaseTimes {
                queue_s: seconds(self.job.came, self.admitted),
                prefill_s: seconds(self.admitted, first),
                decode_s: seconds(first, now),
                ..PhaseTimes::default()
            }));
        }
    }
}

#[cfg(test)]
mod tests;
