//! The time of one round of a kernel that does its work in rounds, without what a launch costs besides.
//!
//! A launch takes `fixed + rounds * each`: the gap between kernels, the loads before the first round and the stores
//! after the last are in `fixed`. One launch divided by its rounds counts them as work: on a chip whose round is half a
//! microsecond, and whose fixed part is eight, two hundred rounds come out 7 % slow. The difference of a long and a
//! short launch does not.

use super::MIN_SAMPLES;
use crate::units::Seconds;

/// A short launch takes this long at least: events are good to half a microsecond.
const LEAST_SHORT: Seconds = Seconds(0.002);
/// The long launch has this many times its rounds: the difference is then four times the short launch, and its noise
/// (that of both) a share of it four times smaller. Odd, as the numbers of rounds are.
const LONGER: u32 = 5;
/// Where even a short launch takes this long, as on a card that is emulated, less will do: three times its rounds, and
/// three pairs.
const SLOW: Seconds = Seconds(0.02);
const SLOW_LONGER: u32 = 3;
const SLOW_PAIRS: usize = 3;
/// The difference is this share of the long launch at least (without any fixed part it is four fifths): of what is
/// smaller, noise makes rates that no chip has.
const LEAST_DIFFERENCE: f64 = 0.5;
/// How long the kernel runs before anything counts: clocks take tens of milliseconds to rise.
pub(super) const WARM: Seconds = Seconds(0.05);
/// Rounds of a short launch, at most: sums of 32 bits have to hold those of a long one.
const MOST_SHORT: u32 = 1 << 20;
/// Launches that warm, and samples, at most: a clock that stands still must not hold the program.
const MOST_LAUNCHES: usize = 10_000;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slope {
    /// Rounds of the short and of the long launch.
    pub rounds: (u32, u32),
    /// Time of one round, by each pair that could be used.
    pub each: Vec<Seconds>,
    /// Pairs whose longer launch did not take so much longer as its rounds do.
    pub dropped: usize,
}

impl Slope {
    /// What the figure rests on, to be said with it.
    pub(crate) fn how(&self) -> String {
        let (short, long) = self.rounds;
        let how = format!("by the difference of launches of {short} and {long} rounds");
        match self.dropped {
            0 => how,
            dropped => format!("{how}, without {dropped} samples where the longer one was not so much longer"),
        }
    }
}

/// Finds the time of a round. `time` launches so many rounds, always an odd number, and says how long that took; this
/// goes on until such times add up to `time_each`.
pub(super) fn measure<E>(time_each: Seconds, time: &mut dyn FnMut(u32) -> Result<Seconds, E>) -> Result<Slope, E> {
    let mut short = warm(WARM.0.min(time_each.0), time)?;
    let mut before = time(short)?;
    let (longer, least) = if before < SLOW { (LONGER, MIN_SAMPLES) } else { (SLOW_LONGER, SLOW_PAIRS) };
    let (mut each, mut dropped, mut spent) = (Vec::new(), 0, 0.0);
    while each.len() + dropped < least || (spent < time_each.0 && each.len() + dropped < MOST_LAUNCHES) {
        let long = short * longer;
        let whole = time(long)?;
        let after = time(short)?;
        // The faster of the two short launches beside the long one: a hiccup in one of them, or a clock that is only
        // rising, would make the difference too small and the rate higher than any chip's.
        let difference = whole.0 - before.0.min(after.0);
        (before, spent) = (after, spent + whole.0 + after.0);
        if difference > 0.0 && difference >= LEAST_DIFFERENCE * whole.0 {
            each.push(Seconds(difference / (long - short) as f64));
        } else if each.is_empty() && short < MOST_SHORT {
            // The fixed part is most of it: more rounds are needed for them to show.
            short = 2 * short + 1;
            before = time(short)?;
        } else {
            dropped += 1;
        }
    }
    Ok(Slope { rounds: (short, short * longer), each, dropped })
}

/// Runs the kernel until launches of it took `warm` seconds, and doubles its rounds until one takes long enough; how
/// many rounds that are.
fn warm<E>(warm: f64, time: &mut dyn FnMut(u32) -> Result<Seconds, E>) -> Result<u32, E> {
    let mut rounds = 1;
    // The first launch also loads the kernel.
    let mut spent = time(rounds)?.0;
    for _ in 0..MOST_LAUNCHES {
        let took = time(rounds)?;
        spent += took.0;
        if took < LEAST_SHORT && rounds < MOST_SHORT {
            rounds = 2 * rounds + 1;
        } else if spent >= warm {
            break;
        }
    }
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// A card that takes `fixed` for a launch and `each` for a round, in seconds, at a clock that goes with the time it
    /// has been busy, and whose launches are now and then late.
    struct Fake {
        fixed: f64,
        each: f64,
        clock: fn(f64) -> f64,
        noise: f64,
        hiccup: f64,
        busy: f64,
        random: u32,
    }

    const FAKE: Fake =
        Fake { fixed: 8e-6, each: 0.47e-6, clock: |_| 1.0, noise: 0.0, hiccup: 0.0, busy: 0.0, random: 1 };

    impl Fake {
        fn random(&mut self) -> f64 {
            self.random = super::super::mix(self.random.wrapping_add(0x9e37_79b9));
            self.random as f64 / u32::MAX as f64
        }

        fn time(&mut self, rounds: u32) -> Result<Seconds, Infallible> {
            let late = if self.random() < 0.05 { self.hiccup } else { 0.0 };
            let noise = (2.0 * self.random() - 1.0) * self.noise;
            let time = (self.fixed + rounds as f64 * self.each) / (self.clock)(self.busy) + noise + late;
            self.busy += time;
            Ok(Seconds(time))
        }

        /// Rounds per second over the true rate at full clock: the best sample and the median.
        fn found(mut self) -> (f64, f64) {
            let each = self.each;
            let slope = measure(Seconds(0.7), &mut |rounds| self.time(rounds)).unwrap();
            let mut rates: Vec<f64> = slope.each.iter().map(|time| each / time.0).collect();
            rates.sort_by(f64::total_cmp);
            (*rates.last().unwrap(), rates[rates.len() / 2])
        }
    }

    fn near(found: (f64, f64), share: f64) {
        assert!((found.0 - 1.0).abs() < share && (found.1 - 1.0).abs() < share, "{found:?}");
    }

    #[test]
    fn a_launch_costs_nothing_where_one_launch_alone_is_slow() {
        // What a launch of as many rounds as one-round launches fit into 2 ms says: 7 % and 6 % low.
        for (fixed, each, low) in [(8e-6, 0.47e-6, 0.067), (8e-6, 0.58e-6, 0.056)] {
            let rounds = (LEAST_SHORT.0 / (fixed + each)).ceil();
            let old = rounds * each / (fixed + rounds * each);
            assert!((1.0 - old - low).abs() < 2e-3, "{old}");
            near(Fake { fixed, each, ..FAKE }.found(), 1e-6);
        }
        // As with a slow first launch, whose rounds came out fewer.
        near(Fake { clock: |busy| if busy < 1e-4 { 0.3 } else { 1.0 }, ..FAKE }.found(), 1e-6);
    }

    #[test]
    fn noise_and_hiccups_do_not_raise_the_roof() {
        // Half a microsecond by the clock, and one launch in twenty late by as much as a card takes to be asked again.
        near(Fake { noise: 0.5e-6, ..FAKE }.found(), 1e-3);
        near(Fake { noise: 2e-6, hiccup: 2e-4, ..FAKE }.found(), 5e-3);
    }

    #[test]
    fn clocks_are_warm_before_anything_counts() {
        let rising = |busy: f64| (0.4 + busy / 0.05 * 0.6).min(1.0);
        near(Fake { clock: rising, ..FAKE }.found(), 1e-2);
        // A cap that holds the clock back for 30 ms of each 60: the best is the full clock's, and no more.
        let capped = |busy: f64| if busy % 0.06 < 0.03 { 1.0 } else { 0.93 };
        let (best, median) = Fake { clock: capped, ..FAKE }.found();
        assert!((best - 1.0).abs() < 1e-2 && median < 1.01 && median > 0.9, "{best} {median}");
    }

    #[test]
    fn a_pair_that_says_nothing_is_dropped_and_counted() {
        let mut launches = 0;
        let slope = measure(Seconds(0.0), &mut |rounds| {
            launches += 1;
            let lost = launches > 20 && launches % 4 == 0 && rounds > 8191;
            Ok::<_, Infallible>(Seconds(if lost { 1e-4 } else { 1e-6 + rounds as f64 * 0.4e-6 }))
        })
        .unwrap();
        assert_eq!(slope.rounds, (8191, 40955));
        assert!(slope.dropped > 0 && slope.each.len() + slope.dropped == MIN_SAMPLES, "{slope:?}");
        assert!(slope.how().contains(&format!("without {} samples", slope.dropped)), "{}", slope.how());
        // A clock that stands still: nothing was measured, and it ends.
        let still = measure(Seconds(1.0), &mut |_| Ok::<_, Infallible>(Seconds(0.0))).unwrap();
        assert!(still.each.is_empty() && still.dropped == MOST_LAUNCHES);
    }

    #[test]
    fn rounds_grow_until_they_are_what_is_timed() {
        // A launch that takes 3 ms before its first round, which takes a microsecond.
        let slope = measure(Seconds(0.0), &mut |rounds| Ok::<_, Infallible>(Seconds(3e-3 + rounds as f64 * 1e-6)));
        let slope = slope.unwrap();
        assert!(slope.rounds == (1023, 5115) && slope.dropped == 0, "{slope:?}");
        assert!(slope.each.iter().all(|each| (each.0 - 1e-6).abs() < 1e-12), "{slope:?}");
    }

    #[test]
    fn rounds_are_odd_and_an_error_ends_it() {
        let result = measure(Seconds(0.01), &mut |rounds| {
            assert_eq!(rounds % 2, 1);
            if rounds > 1000 { Err("lost") } else { Ok(Seconds(1e-7 * rounds as f64)) }
        });
        assert_eq!(result, Err("lost"));
    }

    proptest! {
        #[test]
        fn any_fixed_cost_is_left_out(
            fixed in 1e-6f64..1e-4, each in 1e-8f64..1e-3, noise in 0.0f64..2e-6, random in 1u32..1_000_000
        ) {
            let (best, median) = Fake { fixed, each, noise, random, ..FAKE }.found();
            prop_assert!((best - 1.0).abs() < 1e-2 && (median - 1.0).abs() < 5e-3, "{best} {median}");
        }
    }
}
