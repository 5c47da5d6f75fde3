//! The arithmetic of times, use and cost, written once for both that compute with it: the program, and the script of a
//! report's page, which ranks anew as its reader changes the load.
//!
//! Each formula is a Rust function of floats and, as the same text, a function of that script ([`script`]). So a body has
//! `let` lines and a result of what the two languages write alike: arithmetic, lists, calls of other formulas, and the few
//! functions below. Money is not computed here: a price is multiplied by what a formula says, exactly in the program.

use std::fmt::Write;

/// A Rust function, and its text as one of a script.
macro_rules! formulas {
    (
        constants { $($(#[$about:meta])* const $constant:ident = $number:expr;)* }
        functions {
            $($(#[$doc:meta])* fn $name:ident($($argument:ident),+) -> $out:ty {
                $(let $local:ident = $value:expr;)*
                return $result:expr;
            })+
        }
    ) => {
        $($(#[$about])* pub const $constant: f64 = $number;)*
        $($(#[$doc])* pub fn $name($($argument: f64),+) -> $out { $(let $local = $value;)* $result })+
        /// Constants as a name and a value.
        const CONSTANTS: &[(&str, &str)] = &[$((stringify!($constant), stringify!($number))),*];
        /// Functions as a name, arguments and a body.
        const FUNCTIONS: &[(&str, &str, &str)] = &[$((
            stringify!($name),
            stringify!($($argument),+),
            concat!($("const ", stringify!($local), " = ", stringify!($value), "; ",)* "return ", stringify!($result), ";"),
        )),+];
    };
}

formulas! {
    constants {
        /// Hours of a month: 8,760 / 12.
        const HOURS_PER_MONTH = 730.0;
        /// Hours of a year.
        const HOURS_PER_YEAR = 8760.0;
        /// Seconds of a month.
        const SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600.0;
        /// Bytes of a GB on a bill.
        const BYTES_PER_GB = 1e9;
    }
    functions {
        /// Seconds to the last token: the first, then a step for each further one.
        fn e2e(ttft_s, tpot_s, gen_tokens) -> f64 {
            return ttft_s + tpot_s * max(gen_tokens - 1.0, 0.0);
        }

        /// Requests a second of users who think between an answer and the next request.
        fn rate_of_users(users, think_s, e2e_s) -> f64 {
            return users / (think_s + e2e_s);
        }

        /// The next whole number, with a little forbearance for rounding: 3.0000000001 is 3.
        fn whole(instances) -> f64 {
            return max(ceil(instances - 1e-9), 0.0);
        }

        /// Whole instances for `requests_per_s`, each of which sustains `sustained` and is loaded to `headroom` of that.
        fn instances_for(requests_per_s, sustained, headroom, spare) -> f64 {
            return whole(requests_per_s / (sustained * headroom)) + spare;
        }

        /// The share of the paid capacity that is used.
        fn utilisation(requests_per_s, instances, sustained) -> f64 {
            return requests_per_s / (instances * sustained);
        }

        /// Hours of an instance that a request takes: busy `1 / (3600 T)`, and idle `(1/u - 1) / (3600 T)`.
        fn hours(sustained, used) -> [f64; 2] {
            let busy = 1.0 / (3600.0 * sustained);
            return [busy, busy * max(1.0 / used - 1.0, 0.0)];
        }

        /// What failed requests add to each that succeeds, as a share of its cost: `f / (1 - f)`.
        fn failed_per_success(share) -> f64 {
            return share / (1.0 - share);
        }

        /// Successful requests of a month.
        fn successes_of_month(success, requests_per_s) -> f64 {
            return success * requests_per_s * HOURS_PER_MONTH * 3600.0;
        }

        /// GB of a month's volume that fall into a tier of prices.
        fn gb_in_tier(gb, from_gb, to_gb) -> f64 {
            return max(min(gb, to_gb) - from_gb, 0.0);
        }

        /// GB of a month's answers.
        fn gb_of_month(requests_per_s, answer_bytes) -> f64 {
            return requests_per_s * SECONDS_PER_MONTH * answer_bytes / BYTES_PER_GB;
        }

        /// Requests that a worker has in flight at its sustained rate (Little's law): only those that overlap share a batch.
        fn in_flight(requests_per_s, e2e_s) -> f64 {
            return max(round(requests_per_s * e2e_s), 1.0);
        }

        /// Of a serverless offer at a rate in all: requests a second of each worker that is needed at least, how many it works
        /// on together, the share of the time that it is busy, and the seconds it waits for each request.
        fn worker(requests_per_s, exec_s, batch, headroom) -> [f64; 4] {
            let workers = ceil(max(requests_per_s * exec_s / (batch * headroom), 1.0) - 1e-9);
            let each = requests_per_s / workers;
            let together = min(max(each * exec_s, 1.0), batch);
            let busy = min(each * exec_s / together, 1.0);
            return [each, together, busy, (1.0 - busy) / each];
        }

        /// Seconds that are billed for `seconds` of work.
        fn billed(seconds, increment_s) -> f64 {
            return select(increment_s > 0.0, max(ceil(seconds / increment_s - 1e-9), 1.0) * increment_s, seconds);
        }

        /// Seconds that a worker which is let go after `keep_warm_s` waits for each request, and the share of requests that find
        /// it gone; one in a million is none.
        fn kept_warm(each, exec_s, busy, keep_warm_s, increment_s) -> [f64; 2] {
            let gone = exp(-each * keep_warm_s);
            let up = exec_s + keep_warm_s;
            let rounding = (billed(up, increment_s) - up) * gone * (1.0 - busy);
            let starts = gone * (1.0 - busy);
            return [(1.0 - busy) * (1.0 - gone) / each + rounding, select(starts > 1e-6, starts, 0.0)];
        }
    }
}

// What bodies call. The script has the same by these names.

fn min(a: f64, b: f64) -> f64 {
    a.min(b)
}

fn max(a: f64, b: f64) -> f64 {
    a.max(b)
}

fn ceil(value: f64) -> f64 {
    value.ceil()
}

fn round(value: f64) -> f64 {
    value.round()
}

fn exp(value: f64) -> f64 {
    value.exp()
}

fn select(condition: bool, one: f64, other: f64) -> f64 {
    if condition { one } else { other }
}

/// The formulas as a script that makes them `sizewell.formulas`.
pub fn script() -> String {
    let mut text = String::from(
        "\"use strict\";\n// Written by the program from its own formulas (sizing/formulas.rs).\n\
         window.sizewell = window.sizewell || {};\n(function (sizewell) {\n  \
         const { min, max, ceil, round, exp } = Math;\n  const select = (condition, one, other) => (condition ? one : other);\n",
    );
    let mut names = Vec::new();
    // Writing to a string does not fail.
    for (name, value) in CONSTANTS {
        let _ = writeln!(text, "  const {name} = {value};");
        names.push(*name);
    }
    for (name, arguments, body) in FUNCTIONS {
        let _ = writeln!(text, "  function {name}({arguments}) {{ {} }}", body.replace('\n', " "));
        names.push(*name);
    }
    let _ = writeln!(text, "  sizewell.formulas = {{ {} }};\n}})(window.sizewell);", names.join(", "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_has_every_formula_in_the_same_words() {
        let script = script();
        assert!(script.contains("const HOURS_PER_MONTH = 730.0;"), "{script}");
        assert!(script.contains("function whole(instances) { return max(ceil(instances - 1e-9), 0.0); }"), "{script}");
        assert!(script.contains("const busy = 1.0 / (3600.0 * sustained); return [busy, busy *"), "{script}");
        // Nothing that only Rust understands.
        for word in ["f64", "let ", "::", ".max(", " as ", "if "] {
            assert!(!script.contains(word), "{word}: {script}");
        }
    }

    #[test]
    fn formulas_are_what_they_say() {
        assert_eq!((whole(3.000_000_000_1), whole(3.1), whole(-1.0)), (3.0, 4.0, 0.0));
        assert_eq!(hours(1.0, 0.5), [1.0 / 3600.0, 1.0 / 3600.0]);
        assert_eq!((billed(0.2, 1.0), billed(1.0, 1.0), billed(1.2, 1.0), billed(0.3, 0.0)), (1.0, 1.0, 2.0, 0.3));
        assert_eq!(e2e(1.0, 0.1, 11.0), 2.0);
        assert_eq!(kept_warm(1e3, 1.0, 0.5, 60.0, 0.0)[1], 0.0, "nobody finds it gone");
    }
}
