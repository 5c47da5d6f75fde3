use super::*;
use std::sync::Mutex;

/// `(row, past, tokens)` of each piece, for each pass.
type Passes = Arc<Mutex<Vec<Vec<(usize, usize, usize)>>>>;

/// Answers with the number of positions that a row holds, and keeps what each pass was.
struct Counting {
    slots: usize,
    passes: Passes,
    fail_at: usize,
    /// The pass that fails loses the card.
    loses_card: bool,
    /// The pass that panics; and whether the model comes back from it.
    panic_at: usize,
    comes_back: bool,
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
            return Err(if self.loses_card {
                EngineError::DeviceLost("an address that is not aligned".to_string())
            } else {
                EngineError::Failed("out of luck".to_string())
            });
        }
        passes.push(segments.iter().map(|s| (s.row, s.past, s.tokens.len())).collect());
        let count = passes.len();
        drop(passes);
        if count == self.panic_at {
            panic!("chunk size must be non-zero");
        }
        std::thread::sleep(Duration::from_millis(2));
        Ok(segments.iter().filter(|s| s.sampled).map(|s| (s.past + s.tokens.len()) as u32).collect())
    }

    fn recover(&mut self) -> Result<(), EngineError> {
        if self.comes_back { Ok(()) } else { panic!("a lock is poisoned") }
    }
}

fn start(slots: usize, fail_at: usize) -> (Scheduler, Passes) {
    started(Counting {
        slots,
        passes: Passes::default(),
        fail_at,
        loses_card: false,
        panic_at: usize::MAX,
        comes_back: true,
    })
}

fn started(model: Counting) -> (Scheduler, Passes) {
    let passes = model.passes.clone();
    (Scheduler::start(Box::new(model), 8).unwrap(), passes)
}

/// Two places, the third pass of which panics.
fn panicking(comes_back: bool) -> Counting {
    Counting { slots: 2, passes: Passes::default(), fail_at: usize::MAX, loses_card: false, panic_at: 3, comes_back }
}

fn all(mut events: UnboundedReceiver<SequenceEvent>) -> (Vec<u32>, Option<SequenceEvent>) {
    let mut tokens = Vec::new();
    while let Some(what) = events.blocking_recv() {
        match what {
            SequenceEvent::Token(token) => tokens.push(token),
            other => return (tokens, Some(other)),
        }
    }
    (tokens, None)
}

#[test]
fn sequences_share_passes_and_places_are_given_again() {
    let (scheduler, passes) = start(2, usize::MAX);
    let events: Vec<_> = (0..6).map(|i| scheduler.submit(vec![1; 10 + i], 4)).collect();
    for (index, events) in events.into_iter().enumerate() {
        let (tokens, end) = all(events);
        let prompt = 10 + index as u32;
        assert_eq!(tokens, [prompt, prompt + 1, prompt + 2, prompt + 3]);
        assert!(matches!(end, Some(SequenceEvent::Done(phases)) if phases.decode_s > 0.0));
    }
    let passes = passes.lock().unwrap();
    assert!(
        passes.iter().all(|pass| pass.len() <= 2 && pass.iter().filter(|p| p.2 > 1).map(|p| p.2).sum::<usize>() <= 8)
    );
    assert!(passes.iter().any(|pass| pass.len() == 2 && pass[0].2 == 1 && pass[1].2 > 1), "prefill beside decoding");
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
        matches!(all(scheduler.submit(vec![1; 60], 10)).1, Some(SequenceEvent::Failed(why)) if why.contains("place of 64"))
    );
    assert!(matches!(all(scheduler.submit(vec![], 10)).1, Some(SequenceEvent::Failed(_))));
    assert!(
        matches!(all(scheduler.submit(vec![1; 3], 3)).1, Some(SequenceEvent::Failed(why)) if why.contains("out of luck"))
    );
    assert_eq!(all(scheduler.submit(vec![1; 3], 3)).0, [3, 4, 5]);
}

#[test]
fn nobody_is_served_by_a_card_that_is_lost() {
    let counting = Counting {
        slots: 2,
        passes: Passes::default(),
        fail_at: 0,
        loses_card: true,
        panic_at: usize::MAX,
        comes_back: true,
    };
    let (scheduler, passes) = started(counting);
    assert!(
        matches!(all(scheduler.submit(vec![1; 3], 3)).1, Some(SequenceEvent::Failed(why)) if why.contains("not aligned"))
    );
    let later = all(scheduler.submit(vec![1; 3], 3)).1;
    assert!(matches!(&later, Some(SequenceEvent::Failed(why)) if why.contains("the engine has stopped")), "{later:?}");
    assert_eq!(passes.lock().unwrap().len(), 1, "no pass after that one");
}

#[test]
fn a_panic_is_the_end_of_its_pass_alone() {
    let (scheduler, passes) = started(panicking(true));
    // Both are prompts of three passes together: the second waits with a part of its prompt in the cache, or with none.
    let (first, second) = (scheduler.submit(vec![1; 20], 3), scheduler.submit(vec![1; 10], 3));
    let third = scheduler.submit(vec![1; 5], 3);
    let failed = |end: &Option<SequenceEvent>| matches!(end, Some(SequenceEvent::Failed(why)) if why.contains("a pass of the engine crashed: chunk size must be non-zero"));
    let (tokens, end) = all(first);
    assert!(tokens.is_empty() && failed(&end), "{end:?}");
    // The others were in that pass, or are answered as if nothing had been.
    for (events, prompt) in [(second, 10), (third, 5)] {
        let (tokens, end) = all(events);
        assert!(failed(&end) || tokens == [prompt, prompt + 1, prompt + 2], "{tokens:?} {end:?}");
    }
    let (tokens, end) = all(scheduler.submit(vec![1; 7], 2));
    assert_eq!(tokens, [7, 8]);
    assert!(matches!(end, Some(SequenceEvent::Done(_))));
    let load = &scheduler.load;
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    assert_eq!((load.gone(), count(&load.crashes), count(&load.waiting)), (None, 1, 0));
    // What was in no place that the model lost begins again at its own beginning.
    let passes = passes.lock().unwrap();
    assert!(passes[3..].iter().flatten().all(|(row, past, _)| *row < 2 && *past < 40), "{passes:?}");
    let (_, past, _) = passes[3][0];
    assert_eq!(past, 0, "{passes:?}");
}

#[test]
fn an_engine_that_does_not_come_back_says_so_to_everybody() {
    let (scheduler, _) = started(panicking(false));
    let events: Vec<_> = (0..5).map(|_| scheduler.submit(vec![1; 20], 30)).collect();
    for events in events {
        let end = all(events).1;
        assert!(
            matches!(&end, Some(SequenceEvent::Failed(why)) if why.contains("crashed") || why.contains("the engine has stopped")),
            "{end:?}"
        );
    }
    let why = scheduler.load.gone().unwrap();
    assert!(why.contains("chunk size") && why.contains("did not come back: a lock is poisoned"), "{why}");
    let end = all(scheduler.submit(vec![1; 3], 3)).1;
    assert!(matches!(&end, Some(SequenceEvent::Failed(why)) if why.contains("start it again")), "{end:?}");
}
