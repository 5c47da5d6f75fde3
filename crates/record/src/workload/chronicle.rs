//! Text without end from a source whose entropy is known: the chronicle of a market, written for this project.
//!
//! An entry is a few sentences about one sale. Each choice in it (day, trade, town, goods, price) is drawn from weights
//! that depend on choices made before in the same entry, and can be told from the text, so that the source is a
//! Markov chain whose state is known to a reader: its entropy is the sum, over the states, of the chance of passing
//! through one times the entropy of the choice made there (Shannon 1948, section 7), and the probability of a text is
//! the product of those of its choices. Some of what follows is certain (what a number of goods costs, the day after,
//! where a town lies), so that there are right and wrong answers to ask for.

use rand::Rng;
use std::collections::BTreeMap;
use std::fmt::Write;

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
/// Each trade with what it sells.
pub const TRADES: [(&str, [&str; 4]); 8] = [
    ("baker", ["loaves", "buns", "pies", "cakes"]),
    ("smith", ["nails", "hinges", "knives", "spades"]),
    ("weaver", ["shawls", "blankets", "ribbons", "cloaks"]),
    ("fisher", ["herrings", "eels", "crabs", "oysters"]),
    ("potter", ["jugs", "bowls", "tiles", "vases"]),
    ("tanner", ["belts", "boots", "saddles", "gloves"]),
    ("brewer", ["barrels", "bottles", "flasks", "jars"]),
    ("farmer", ["turnips", "apples", "eggs", "cheeses"]),
];
/// Towns; town `i` lies by landmark `i % 4`.
pub const TOWNS: [&str; 12] = [
    "Aldmoor", "Birkwell", "Corsby", "Dunholm", "Elmstow", "Farleigh", "Garsdale", "Hexford", "Inverlow", "Kelmscar",
    "Langness", "Marwick",
];
/// What a town lies by.
pub const LANDMARKS: [&str; 4] = ["sea", "river", "forest", "hills"];
/// The sky, which depends on the landmark.
pub const SKIES: [&str; 5] = ["clear", "grey", "misty", "stormy", "mild"];
/// Buyers, women first.
const NAMES: [&str; 16] = [
    "Ada", "Brenda", "Clara", "Dora", "Edith", "Freya", "Greta", "Hilda", "Alban", "Bruno", "Cedric", "Dunstan",
    "Edgar", "Felix", "Gilbert", "Hugo",
];
const TEMPERS: [&str; 8] = ["old", "young", "merry", "quiet", "proud", "weary", "honest", "clever"];
const FINISHES: [&str; 8] = ["fine", "plain", "large", "small", "cheap", "rare", "new", "good"];
/// What is bought and what one costs: two to six of either.
const NUMBERS: std::ops::RangeInclusive<usize> = 2..=6;

/// What is chosen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Day,
    Temper,
    Trade,
    Town,
    Count,
    Finish,
    Good,
    Buyer,
    Price,
    Payer,
    Turn,
    Sky,
    Errand,
    Left,
}

/// A point of an entry: what is chosen next, and the choices that what follows depends on. Others are 0, so that entries
/// which go on alike share their states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    place: Slot,
    day: usize,
    temper: usize,
    trade: usize,
    town: usize,
    good: usize,
    buyer: usize,
    count: usize,
    price: usize,
    /// Sentences that were told already: 1 the road, 2 the return.
    told: usize,
}

/// One way to go on.
struct Choice {
    probability: f64,
    text: String,
    /// `None` at the end of the entry.
    next: Option<State>,
}

const START: State =
    State { place: Slot::Day, day: 0, temper: 0, trade: 0, town: 0, good: 0, buyer: 0, count: 0, price: 0, told: 0 };

/// Zipf weights over `options`, whose order depends on `context`: nothing is impossible, and each context has its own
/// favourites.
fn weights(options: usize, context: usize) -> impl Iterator<Item = f64> {
    // 11 has no factor in common with any number of options here, so that each gets a rank of its own.
    let rank = move |option: usize| (option * 11 + context * 5) % options;
    let total: f64 = (0..options).map(|rank| 1.0 / (rank + 2) as f64).sum();
    (0..options).map(move |option| 1.0 / (rank(option) + 2) as f64 / total)
}

impl State {
    fn at(self, place: Slot) -> Self {
        Self { place, ..self }
    }

    /// All ways to go on, one for each of `options`.
    fn each(options: usize, context: usize, of: impl Fn(usize) -> (String, State)) -> Vec<Choice> {
        let choice = |(option, probability)| {
            let (text, next) = of(option);
            Choice { probability, text, next: Some(next) }
        };
        weights(options, context).enumerate().map(choice).collect()
    }

    fn choices(self) -> Vec<Choice> {
        match self.place {
            Slot::Turn => self.turns(),
            Slot::Sky | Slot::Errand | Slot::Left => self.later(),
            Slot::Count | Slot::Finish | Slot::Good | Slot::Buyer | Slot::Price | Slot::Payer => self.sale(),
            Slot::Day => Self::each(DAYS.len(), 1, |day| {
                (format!("On {} the", DAYS[day]), Self { day, ..self.at(Slot::Temper) })
            }),
            Slot::Temper => Self::each(TEMPERS.len(), self.day, |temper| {
                (format!(" {}", TEMPERS[temper]), Self { temper, ..self.at(Slot::Trade) })
            }),
            Slot::Trade => Self::each(TRADES.len(), self.temper, |trade| {
                (format!(" {} of", TRADES[trade].0), Self { trade, temper: 0, ..self.at(Slot::Town) })
            }),
            Slot::Town => Self::each(TOWNS.len(), self.trade, |town| {
                (format!(" {} sold", TOWNS[town]), Self { town, ..self.at(Slot::Count) })
            }),
        }
    }

    /// What was sold to whom at what price.
    fn sale(self) -> Vec<Choice> {
        let numbers = NUMBERS.count();
        match self.place {
            Slot::Count => Self::each(numbers, 0, |i| {
                let count = i + NUMBERS.start();
                (format!(" {count}"), Self { count, ..self.at(Slot::Finish) })
            }),
            Slot::Finish => Self::each(FINISHES.len(), self.trade, |finish| {
                // What is made so sets which of the goods is likely.
                (format!(" {}", FINISHES[finish]), Self { good: finish, ..self.at(Slot::Good) })
            }),
            Slot::Good => Self::each(4, self.good, |good| {
                (format!(" {} to", TRADES[self.trade].1[good]), Self { good, ..self.at(Slot::Buyer) })
            }),
            Slot::Buyer => Self::each(NAMES.len(), self.town, |buyer| {
                (format!(" {} at", NAMES[buyer]), Self { buyer, ..self.at(Slot::Price) })
            }),
            Slot::Price => Self::each(numbers, self.good, |i| {
                let price = i + NUMBERS.start();
                (format!(" {price} coins each."), Self { price, ..self.at(Slot::Payer) })
            }),
            _ => {
                let name = NAMES[self.buyer];
                let paid = format!(" paid {} coins.", self.count * self.price);
                let next = Self { count: 0, price: 0, ..self.at(Slot::Turn) };
                let by_name = Choice { probability: 0.4, text: format!(" {name}{paid}"), next: Some(next) };
                let pronoun = if self.buyer < NAMES.len() / 2 { "She" } else { "He" };
                vec![by_name, Choice { probability: 0.6, text: format!(" {pronoun}{paid}"), next: Some(next) }]
            }
        }
    }

    /// Which sentence comes next, or the end.
    fn turns(self) -> Vec<Choice> {
        let State { day, trade, town, good, buyer, told, .. } = self;
        let mut turns = Vec::new();
        if told & 1 == 0 {
            let landmark = town % LANDMARKS.len();
            let text = format!(" The road to {} runs along the {} under a", TOWNS[town], LANDMARKS[landmark]);
            turns.push((0.35, text, Some(Self { told: told | 1, ..self.at(Slot::Sky) })));
        }
        if told & 2 == 0 {
            let text = format!(" On {} {} came back for", DAYS[(day + 1) % DAYS.len()], NAMES[buyer]);
            // After this only the trade, its goods and the town can be named again.
            let next = Self { told: told | 2, day: 0, ..self.at(Slot::Errand) };
            turns.push((0.35, text, Some(Self { trade, good, ..next })));
        }
        turns.push((0.3, "\n".to_string(), None));
        let total: f64 = turns.iter().map(|turn| turn.0).sum();
        turns.into_iter().map(|(weight, text, next)| Choice { probability: weight / total, text, next }).collect()
    }

    /// The sky over the road, and how the second errand went.
    fn later(self) -> Vec<Choice> {
        match self.place {
            Slot::Sky => Self::each(SKIES.len(), self.town % LANDMARKS.len(), |sky| {
                (format!(" {} sky.", SKIES[sky]), self.at(Slot::Turn))
            }),
            Slot::Errand => Self::each(FINISHES.len(), self.good, |finish| {
                let text = format!(" {} {}, and", FINISHES[finish], TRADES[self.trade].1[self.good]);
                (text, self.at(Slot::Left))
            }),
            _ => {
                let trade = TRADES[self.trade].0;
                let next = self.at(Slot::Turn);
                let some = Choice { probability: 0.7, text: format!(" the {trade} had plenty."), next: Some(next) };
                vec![some, Choice { probability: 0.3, text: format!(" the {trade} had none."), next: Some(next) }]
            }
        }
    }
}

/// One entry, with its line break.
pub fn entry(rng: &mut impl Rng) -> String {
    let mut text = String::new();
    let mut state = Some(START);
    while let Some(at) = state {
        let mut choices = at.choices();
        let mut left = rng.random::<f64>();
        let taken = choices.iter().position(|choice| {
            left -= choice.probability;
            left < 0.0
        });
        let choice = choices.swap_remove(taken.unwrap_or(choices.len() - 1));
        text.push_str(&choice.text);
        state = choice.next;
    }
    text
}

/// At least `bytes` of whole entries.
pub fn text(bytes: usize, rng: &mut impl Rng) -> String {
    let mut text = String::with_capacity(bytes + 400);
    while text.len() < bytes {
        let _ = write!(text, "{}", entry(rng));
    }
    text
}

/// What is known of the source exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entropy {
    /// Entropy of an entry, in nats.
    pub nats_per_entry: f64,
    /// Expected length of an entry in the units that were asked for.
    pub length_per_entry: f64,
}

impl Entropy {
    /// The entropy rate: nats per unit of length. Entries are independent, so that it is the ratio of the two means.
    pub fn rate(&self) -> f64 {
        self.nats_per_entry / self.length_per_entry
    }
}

/// The entropy of the source, with the length of a text counted by `length`. The pieces that it is asked about are cut
/// before a space or a line break, so that a tokenizer which never joins over those can count tokens.
pub fn entropy(length: &mut dyn FnMut(&str) -> f64) -> Entropy {
    let mut sum = Entropy { nats_per_entry: 0.0, length_per_entry: 0.0 };
    let mut known: BTreeMap<String, f64> = BTreeMap::new();
    let mut mass = BTreeMap::from([(START, 1.0)]);
    while !mass.is_empty() {
        let mut next = BTreeMap::new();
        for (state, reached) in mass {
            for Choice { probability, text, next: to } in state.choices() {
                let through = reached * probability;
                sum.nats_per_entry -= through * probability.ln();
                sum.length_per_entry += through * *known.entry(text).or_insert_with_key(|text| length(text));
                if let Some(to) = to {
                    *next.entry(to).or_insert(0.0) += through;
                }
            }
        }
        mass = next;
    }
    sum
}

/// Minus the logarithm of the probability of an entry, in nats; `None` where the source cannot write it.
pub fn surprise(entry: &str) -> Option<f64> {
    let (mut state, mut rest, mut nats) = (START, entry, 0.0);
    loop {
        // No text of a choice begins with that of another, but for the names that begin others.
        let choice = state.choices().into_iter().filter(|choice| rest.starts_with(&choice.text));
        let choice = choice.max_by_key(|choice| choice.text.len())?;
        nats -= choice.probability.ln();
        rest = &rest[choice.text.len()..];
        match choice.next {
            Some(next) => state = next,
            None => return rest.is_empty().then_some(nats),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn every_choice_is_whole_and_can_be_told_apart() {
        let mut open = vec![START];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(state) = open.pop() {
            let choices = state.choices();
            let total: f64 = choices.iter().map(|choice| choice.probability).sum();
            assert!((total - 1.0).abs() < 1e-12, "{state:?}: {total}");
            for (i, a) in choices.iter().enumerate() {
                assert!(choices[i + 1..].iter().all(|b| a.text != b.text), "{state:?}: {}", a.text);
            }
            // One of every seven days and towns is enough to see each place.
            open.extend(
                choices
                    .iter()
                    .filter_map(|choice| choice.next)
                    .filter(|next| seen.insert(next.place as usize * 100 + next.trade)),
            );
        }
    }

    #[test]
    fn the_entropy_is_what_long_texts_have() {
        let exact = entropy(&mut |text| text.len() as f64);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let entries: Vec<String> = (0..20_000).map(|_| entry(&mut rng)).collect();
        let nats: f64 = entries.iter().map(|entry| surprise(entry).unwrap()).sum::<f64>() / entries.len() as f64;
        let length = entries.iter().map(String::len).sum::<usize>() as f64 / entries.len() as f64;
        assert!((nats / exact.nats_per_entry - 1.0).abs() < 0.005, "{nats} {exact:?}");
        assert!((length / exact.length_per_entry - 1.0).abs() < 0.01, "{length} {exact:?}");
    }

    #[test]
    fn what_the_source_cannot_write_has_no_probability() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let entry = entry(&mut rng);
        assert!(surprise(&entry).is_some(), "{entry}");
        assert_eq!(surprise(entry.trim_end()), None);
        assert_eq!(surprise(&entry.replace("paid", "owed")), None);
    }
}
