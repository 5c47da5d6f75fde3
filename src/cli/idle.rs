//! Idle power, before anything is opened or measured.

use super::stop::stop_was_asked;
use super::talk::Talk;
use crate::power::{self, PowerSource};
use crate::record::run::{IdleRecord, PowerRecord};
use crate::units::{Seconds, Watts};
use std::time::{Duration, Instant};

/// The power of the device with nothing to do, where it is not known yet and cases will be long enough for an energy;
/// what was found goes into `record`. `card_open` says whether this process holds the card by now. The error says why
/// there is none.
pub fn idle_power(
    source: Option<&mut (dyn PowerSource + 'static)>,
    record: &mut PowerRecord,
    max_time_s: f64,
    card_open: bool,
    talk: &Talk,
) -> Result<Watts, String> {
    let Some(source) = source else { return Err("there is no power meter".to_string()) };
    if let Some(known) = record.idle_w {
        return Ok(known);
    }
    if max_time_s < source.sensor().least_window().0 {
        return Err("idle power was not waited for: cases are too short for an energy".to_string());
    }
    talk.say("reading idle power, 10 s or until it has settled");
    let begin = Instant::now();
    let idle = power::idle::read(source, &mut |time| {
        std::thread::sleep(Duration::from_secs_f64(time.0));
        (!stop_was_asked()).then(|| Seconds(begin.elapsed().as_secs_f64()))
    });
    let waited_s = Seconds(begin.elapsed().as_secs_f64());
    match idle {
        Ok(idle) => {
            let performance_state = idle.performance_state;
            record.idle_w = Some(idle.power);
            record.idle = Some(IdleRecord { waited_s, performance_state, card_open, reason: None });
            Ok(idle.power)
        }
        Err(power::PowerError(why)) => {
            let why = format!("idle power: {why}");
            talk.warn(&why);
            let reason = Some(why.clone());
            record.idle = Some(IdleRecord { waited_s, performance_state: None, card_open, reason });
            Err(why)
        }
    }
}
