//! Continuous batching: sequences join and leave the batch between two passes. Every pass takes one token of each sequence
//! that decodes and, beside them, at most so many tokens of prompts; a sequence gets a place in the cache when one is free,
//! first come first served.

pub mod candle;
pub mod target;

use super::EngineError;
use crate::record::PhaseTimes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A piece of a sequence for one pass.
pub use super::candle::ragged::Segment;

/// A model that runs pieces of several sequences in one pass.
pub trait BatchModel: Send {
    /// Places in the cache.
    fn slots(&self) -> usize;

    /// Positions of each.
    fn slot_tokens(&self) -> usize;

    /// Runs a pass and gives the next token of each piece that is sampled, in order.
    fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, EngineError>;
}

/// What a sequence is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
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
    tell: UnboundedSender<Told>,
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
        std::thread::Builder::new()
            .name("sizewell-engine".to_string())
            .spawn(move || Loop::new(model, prefill_chunk.max(1), watched).run(&queue))?;
        Ok(Self { jobs, slot_tokens, load })
    }

    /// Asks for `gen_tokens` tokens behind `prompt`. What comes of it comes through the receiver; dropping that takes the
    /// sequence out of the batch.
    pub fn submit(&self, prompt: Vec<u32>, gen_tokens: usize) -> UnboundedReceiver<Told> {
        let (tell, told) = unbounded_channel();
        let context = prompt.len() + gen_tokens;
        if prompt.is_empty() || gen_tokens == 0 || context > self.slot_tokens {
            let why = match context > self.slot_tokens {
                true => format!("{context} tokens do not fit a place of {} in the cache", self.slot_tokens),
                false => "a prompt and an answer have at least one token".to_string(),
            };
            let _ = tell.send(Told::Failed(why));
            return told;
        }
        self.load.waiting.fetch_add(1, Ordering::Relaxed);
        let job = Job { prompt, gen_tokens, tell, came: Instant::now() };
        if let Err(back) = self.jobs.send(job) {
            let _ = back.0.tell.send(Told::Failed("the engine has stopped".to_string()));
        }
        told
    }
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
            if !self.active.is_empty() {
                self.pass();
            }
        }
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

    /// One pass: every sequence that decodes, and chunks of prompts in the order of their coming.
    fn pass(&mut self) {
        // Those that decode come first, so that one call attends to all of them.
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
        let segments: Vec<Segment<'_>> = taken
            .iter()
            .map(|(index, tokens)| {
                let active = &self.active[*index];
                let (row, past) = (active.slot, active.filled);
                match &active.last {
                    Some(last) => Segment { row, past, tokens: std::slice::from_ref(last), sampled: true },
                    None => Segment {
                        row,
                        past,
                        tokens: &active.job.prompt[past..past + tokens],
                        sampled: past + tokens == active.job.prompt.len(),
                    },
                }
            })
            .collect();
        let sampled: Vec<bool> = segments.iter().map(|segment| segment.sampled).collect();
        match self.model.pass(&segments) {
            Ok(tokens) => {
                let mut tokens = tokens.into_iter();
                for ((index, count), sampled) in taken.into_iter().zip(sampled) {
                    self.active[index].filled += count;
                    if let Some(token) = sampled.then(|| tokens.next()).flatten() {
                        self.active[index].got(token);
                    }
                }
            }
            Err(error) => {
                let why = error.to_string();
                for active in self.active.drain(..) {
                    let _ = active.job.tell.send(Told::Failed(why.clone()));
                    self.free.push(active.slot);
                }
            }
        }
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
}

impl Active {
    fn got(&mut self, token: u32) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(token);
        self.made += 1;
        let _ = self.job.tell.send(Told::Token(token));
        if self.made == self.job.gen_tokens {
            let first = self.first.unwrap_or(now);
            let seconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64();
            let _ = self.job.tell.send(Told::Done(PhaseTimes {
                queue_s: seconds(self.job.came, self.admitted),
                prefill_s: seconds(self.admitted, first),
                decode_s: seconds(first, now),
                ..PhaseTimes::default()
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// `(row, past, tokens)` of each piece, for each pass.
    type Passes = Arc<Mutex<Vec<Vec<(usize, usize, usize)>>>>;

    /// Answers with the number of positions that a row holds, and keeps what each pass was.
    struct Counting {
        slots: usize,
        passes: Passes,
        fail_at: usize,
    }

    impl BatchModel for Counting {
        fn slots(&self) -> usize {
            self.slots
        }

        fn slot_tokens(&self) -> usize {
            64
        }

        fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, EngineError> {
            let mut passes = self.passes.lock().unwrap();
            if passes.len() == self.fail_at {
                passes.push(Vec::new());
                return Err(EngineError::Failed("out of luck".to_string()));
            }
            passes.push(segments.iter().map(|s| (s.row, s.past, s.tokens.len())).collect());
            drop(passes);
            std::thread::sleep(Duration::from_millis(2));
            Ok(segments.iter().filter(|s| s.sampled).map(|s| (s.past + s.tokens.len()) as u32).collect())
        }
    }

    fn start(slots: usize, fail_at: usize) -> (Scheduler, Passes) {
        let passes = Arc::new(Mutex::new(Vec::new()));
        let model = Counting { slots, passes: passes.clone(), fail_at };
        (Scheduler::start(Box::new(model), 8).unwrap(), passes)
    }

    fn all(mut told: UnboundedReceiver<Told>) -> (Vec<u32>, Option<Told>) {
        let mut tokens = Vec::new();
        while let Some(what) = told.blocking_recv() {
            match what {
                Told::Token(token) => tokens.push(token),
                other => return (tokens, Some(other)),
            }
        }
        (tokens, None)
    }

    #[test]
    fn sequences_share_passes_and_places_are_given_again() {
        let (scheduler, passes) = start(2, usize::MAX);
        let told: Vec<_> = (0..6).map(|i| scheduler.submit(vec![1; 10 + i], 4)).collect();
        for (index, told) in told.into_iter().enumerate() {
            let (tokens, end) = all(told);
            let prompt = 10 + index as u32;
            assert_eq!(tokens, [prompt, prompt + 1, prompt + 2, prompt + 3]);
            assert!(matches!(end, Some(Told::Done(phases)) if phases.decode_s > 0.0));
        }
        let passes = passes.lock().unwrap();
        assert!(
            passes
                .iter()
                .all(|pass| pass.len() <= 2 && pass.iter().filter(|p| p.2 > 1).map(|p| p.2).sum::<usize>() <= 8)
        );
        assert!(
            passes.iter().any(|pass| pass.len() == 2 && pass[0].2 == 1 && pass[1].2 > 1),
            "prefill beside decoding"
        );
        assert!(passes.iter().flatten().all(|(row, ..)| *row < 2));
    }

    #[test]
    fn who_goes_away_gives_the_place_free() {
        let (scheduler, _) = start(1, usize::MAX);
        drop(scheduler.submit(vec![1; 4], 60));
        let (tokens, _) = all(scheduler.submit(vec![1; 4], 2));
        assert_eq!(tokens.len(), 2);
    }

    #[test]
    fn what_cannot_be_is_told_and_a_failure_does_not_end_the_engine() {
        let (scheduler, _) = start(2, 0);
        assert!(
            matches!(all(scheduler.submit(vec![1; 60], 10)).1, Some(Told::Failed(why)) if why.contains("place of 64"))
        );
        assert!(matches!(all(scheduler.submit(vec![], 10)).1, Some(Told::Failed(_))));
        assert!(
            matches!(all(scheduler.submit(vec![1; 3], 3)).1, Some(Told::Failed(why)) if why.contains("out of luck"))
        );
        assert_eq!(all(scheduler.submit(vec![1; 3], 3)).0, [3, 4, 5]);
    }
}
