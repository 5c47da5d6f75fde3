//! Power of a device that does nothing: before anything is opened or measured, and with a model that waits.

use super::Context;
use crate::power::{self, PowerSource};
use crate::record::run::{IdleRecord, PowerRecord};
use crate::units::{Seconds, Watts};
use std::time::{Duration, Instant};

/// The power of the device with nothing to do, where it is not known yet and cases will be long enough for an energy;
/// what was found goes into `record`. A card must not be open yet. The error says why there is none.
pub(crate) fn idle_power(
    source: Option<&mut (dyn PowerSource + 'static)>,
    record: &mut PowerRecord,
    max_time_s: f64,
    context: Context<'_>,
) -> Result<Watts, String> {
    let Some(source) = source else { return Err("there is no power meter".to_string()) };
    if let Some(known) = record.idle_w {
        return Ok(known);
    }
    if max_time_s < source.sensor().least_window().0 {
        return Err("idle power was not waited for: cases are too short for an energy".to_string());
    }
    let begin = Instant::now();
    let idle = at_rest(source, "idle power", context);
    let waited_s = Seconds(begin.elapsed().as_secs_f64());
    let reason = idle.as_ref().err().cloned();
    let performance_state = idle.as_ref().ok().and_then(|idle| idle.performance_state);
    record.idle = Some(IdleRecord { waited_s, performance_state, card_open: false, reason });
    record.idle_w = idle.as_ref().ok().map(|idle| idle.power);
    idle.map(|idle| idle.power)
}

/// The power of a card that waits with the last case's model on it, into `record`, where its idle power is known.
pub(crate) fn waiting_power(
    source: Option<&mut (dyn PowerSource + 'static)>,
    record: &mut PowerRecord,
    context: Context<'_>,
) {
    if let (Some(source), Some(_), None) = (source, record.idle_w, record.waiting_w) {
        record.waiting_w = at_rest(source, "power of the waiting card", context).ok().map(|idle| idle.power);
    }
}

/// Reads `source` until it is at rest; the error says of `what` there is no figure and why, and has been told.
fn at_rest(
    source: &mut (dyn PowerSource + 'static),
    what: &str,
    context: Context<'_>,
) -> Result<power::idle::Idle, String> {
    context.note(format!("reading {what}, 10 s or until it has settled"));
    let begin = Instant::now();
    let read = power::idle::read(source, &mut |time| {
        std::thread::sleep(Duration::from_secs_f64(time.0));
        (!context.stop.is_asked()).then(|| Seconds(begin.elapsed().as_secs_f64()))
    });
    read.map_err(|power::PowerError(why)| {
        let why = format!("{what}: {why}");
        context.warn(&why);
        why
    })
}
