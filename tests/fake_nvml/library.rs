//! A libnvidia-ml that plays scripts: built by the tests with rustc alone, opened like the real one. Time is what the
//! test says it is (`fake_set`), so that minutes of a trace take no time.
//!
//! In a program of its own, which no test can call into, the time is real and the environment says the rest:
//! FAKE_NVML_SCRIPT the script, FAKE_NVML_LIMIT a file that holds the power limit in milliwatts for all processes,
//! FAKE_NVML_UNPRIVILEGED that the limit may not be set.
//!
//! Each script is a true power over time; the meters show of it what the sensor of that card would.
#![allow(non_snake_case, clippy::missing_safety_doc)]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one promise for all: its callers are NVML's, which give pointers as NVML's header asks for them"
)]

use std::ffi::{c_char, c_double, c_int, c_longlong, c_uint, c_ulonglong, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

const OK: c_uint = 0;
const INVALID: c_uint = 2;
const NOT_SUPPORTED: c_uint = 3;
const NO_PERMISSION: c_uint = 4;
const INSUFFICIENT_SIZE: c_uint = 7;
const LOST: c_uint = 15;

static SCRIPT: AtomicUsize = AtomicUsize::new(0);
/// Microseconds.
static NOW: AtomicU64 = AtomicU64::new(0);
/// The limit of a card that nobody has set, in milliwatts.
const DEFAULT_LIMIT: u64 = 350_000;
/// Set by the environment, in programs.
static REAL: OnceLock<Option<Instant>> = OnceLock::new();

/// A card of a script.
struct Card {
    name: &'static str,
    architecture: c_uint,
    capability: (c_int, c_int),
    /// Watts at a time in seconds.
    power: fn(f64) -> f64,
    /// The counter moves this often, in seconds; 0 where there is none.
    counter_period: f64,
    /// The sensor sees the last part of each 100 ms only.
    part_time: bool,
    /// `power_usage` is the mean of the last second.
    averaged: bool,
    /// There is a field of instantaneous power.
    instant: bool,
    throttle: c_ulonglong,
    mig: bool,
    vgpu: bool,
    /// Seconds at which the counter starts anew.
    reset_at: f64,
    /// Seconds at which the card is gone.
    lost_at: f64,
    strangers: c_uint,
    /// Errors that could not be corrected.
    uncorrected: c_ulonglong,
    /// Rows replaced after errors that could and could not be corrected, waiting to be, and failed to be.
    rows: [c_uint; 4],
}

const NEVER: f64 = f64::INFINITY;
const PLAIN: Card = Card {
    name: "NVIDIA L40S",
    architecture: 8,
    capability: (8, 9),
    power: |_| 250.0,
    counter_period: 0.1,
    part_time: false,
    averaged: false,
    instant: true,
    throttle: 0,
    mig: false,
    vgpu: false,
    reset_at: NEVER,
    lost_at: NEVER,
    strangers: 0,
    uncorrected: 0,
    rows: [0; 4],
};

/// The scripts, by the numbers that tests/machine/nvml.rs knows them by.
static SCRIPTS: &[&[Card]] = &[
    // 0: a plain card.
    &[PLAIN],
    // 1: an H100 whose sensor looks a quarter of the time, under a steady load with a ripple.
    &[Card {
        name: "NVIDIA H100 80GB HBM3",
        architecture: 9,
        capability: (9, 0),
        power: |t| 500.0 + 15.0 * (t * 41.0).sin(),
        part_time: true,
        ..PLAIN
    }],
    // 2: the same with a load in step with the sensor: the counter and the trace are both wrong, and agree.
    &[Card {
        name: "NVIDIA H100 80GB HBM3",
        architecture: 9,
        capability: (9, 0),
        power: |t| if (t / 0.1).fract() < 0.25 { 700.0 } else { 300.0 },
        part_time: true,
        ..PLAIN
    }],
    // 3: an A10G: no instantaneous field, power is a mean over a second, and the load has just begun.
    &[Card {
        name: "NVIDIA A10G",
        architecture: 7,
        capability: (8, 6),
        power: |t| if t < 100.0 { 60.0 } else { 240.0 },
        averaged: true,
        instant: false,
        ..PLAIN
    }],
    // 4: a T4 at its power limit.
    &[Card {
        name: "Tesla T4",
        architecture: 6,
        capability: (7, 5),
        power: |_| 69.5,
        instant: false,
        throttle: 0x4,
        ..PLAIN
    }],
    // 5: a card in parts.
    &[Card { mig: true, name: "NVIDIA A100-SXM4-80GB", architecture: 7, ..PLAIN }],
    // 6: a virtual card.
    &[Card { vgpu: true, ..PLAIN }],
    // 7: a counter that starts anew in the middle of a window.
    &[Card { reset_at: 104.0, ..PLAIN }],
    // 8: a card that is lost in the middle of a window.
    &[Card { lost_at: 104.0, ..PLAIN }],
    // 9: a card that supports next to nothing: neither counter nor field nor states.
    &[Card { counter_period: 0.0, instant: false, capability: (0, 0), ..PLAIN }],
    // 10: two cards, one of them busy with somebody's work.
    &[Card { power: |_| 30.0, ..PLAIN }, Card { power: |_| 350.0, strangers: 1, ..PLAIN }],
    // 11: a card that is hot.
    &[Card { throttle: 0x40, ..PLAIN }],
    // 12: an old card: no counter, power only.
    &[Card { counter_period: 0.0, name: "Tesla P40", architecture: 4, capability: (6, 1), instant: false, ..PLAIN }],
    // 13: no card at all.
    &[],
    // 14: a card with errors of its memory that it could not correct, and a row that waits to be replaced.
    &[Card { uncorrected: 3, rows: [1, 2, 1, 0], counter_period: 0.0, ..PLAIN }],
];

fn now() -> f64 {
    match REAL.get().copied().flatten() {
        Some(begin) => 100.0 + begin.elapsed().as_secs_f64(),
        None => NOW.load(SeqCst) as f64 / 1e6,
    }
}

/// The file of the limit, which all processes see.
fn limit_file() -> Option<std::path::PathBuf> {
    std::env::var_os("FAKE_NVML_LIMIT").map(Into::into)
}

/// The limit that somebody has set, in milliwatts.
fn limit() -> Option<u64> {
    limit_file().and_then(|file| std::fs::read_to_string(file).ok()).and_then(|text| text.trim().parse().ok())
}

/// What power is cut at, in watts: scripts without a limit do as they like.
fn cap() -> f64 {
    limit().map_or(f64::INFINITY, |milliwatts| milliwatts as f64 / 1000.0)
}

/// The power of a card at a time, in watts: no more than its limit.
fn power(card: &Card, t: f64, limit: f64) -> f64 {
    (card.power)(t).min(limit)
}

/// What the card's sensor makes of the true power at a time.
fn seen(card: &Card, t: f64) -> f64 {
    let limit = cap();
    if card.part_time {
        // The first quarter of each 100 ms, held for the rest.
        mean(card, (t / 0.1).floor() * 0.1, 0.025)
    } else {
        power(card, t, limit)
    }
}

/// Mean of the true power from `from` on.
fn mean(card: &Card, from: f64, length: f64) -> f64 {
    mean_below(card, from, length, cap())
}

fn mean_below(card: &Card, from: f64, length: f64, limit: f64) -> f64 {
    (0..50).map(|i| power(card, from + length * (i as f64 + 0.5) / 50.0, limit)).sum::<f64>() / 50.0
}

/// Joules up to a time, as the card counts them.
fn counted(card: &Card, t: f64) -> f64 {
    let step = card.counter_period;
    let from = if t >= card.reset_at { card.reset_at } else { 0.0 };
    let steps = ((t - from) / step).floor() as u64;
    let limit = cap();
    (0..steps).map(|i| step * mean_seen(card, from + i as f64 * step, step, limit)).sum()
}

fn mean_seen(card: &Card, from: f64, length: f64, limit: f64) -> f64 {
    if card.part_time {
        mean_below(card, ((from + 1e-9) / 0.1).floor() * 0.1, 0.025, limit)
    } else {
        mean_below(card, from, length, limit)
    }
}

/// The card behind a handle, or what a call on it returns.
unsafe fn card(handle: *mut c_void) -> Result<&'static Card, c_uint> {
    let index = handle as usize;
    let cards = SCRIPTS[SCRIPT.load(SeqCst)];
    let card = index.checked_sub(1).and_then(|index| cards.get(index)).ok_or(INVALID)?;
    if now() >= card.lost_at { Err(LOST) } else { Ok(card) }
}

macro_rules! call {
    ($handle:expr, $card:ident => $body:expr) => {
        match unsafe { card($handle) } {
            Ok($card) => $body,
            Err(code) => code,
        }
    };
}

unsafe fn text(out: *mut c_char, length: c_uint, text: &str) -> c_uint {
    if text.len() + 1 > length as usize {
        return INSUFFICIENT_SIZE;
    }
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), out, text.len());
        *out.add(text.len()) = 0;
    }
    OK
}

unsafe fn put<T>(out: *mut T, value: T) -> c_uint {
    unsafe { out.write(value) };
    OK
}

/// Which script plays, and the time in microseconds.
#[unsafe(no_mangle)]
pub extern "C" fn fake_set(script: c_uint, now_us: c_ulonglong) {
    SCRIPT.store(script as usize, SeqCst);
    NOW.store(now_us, SeqCst);
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> c_uint {
    let script = std::env::var("FAKE_NVML_SCRIPT").ok().and_then(|text| text.parse().ok());
    if let Some(script) = script {
        SCRIPT.store(script, SeqCst);
    }
    REAL.get_or_init(|| script.map(|_| Instant::now()));
    OK
}
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> c_uint {
    OK
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(out: *mut c_char, length: c_uint) -> c_uint {
    unsafe { text(out, length, "575.57.08") }
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(out: *mut c_int) -> c_uint {
    unsafe { put(out, 12090) }
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(out: *mut c_uint) -> c_uint {
    unsafe { put(out, SCRIPTS[SCRIPT.load(SeqCst)].len() as c_uint) }
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, out: *mut *mut c_void) -> c_uint {
    if (index as usize) < SCRIPTS[SCRIPT.load(SeqCst)].len() {
        unsafe { put(out, (index as usize + 1) as *mut c_void) }
    } else {
        INVALID
    }
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(handle: *mut c_void, out: *mut c_char, length: c_uint) -> c_uint {
    call!(handle, card => unsafe { text(out, length, card.name) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(handle: *mut c_void, out: *mut c_char, length: c_uint) -> c_uint {
    call!(handle, _card => unsafe { text(out, length, &format!("GPU-{}", handle as usize)) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetArchitecture(handle: *mut c_void, out: *mut c_uint) -> c_uint {
    call!(handle, card => unsafe { put(out, card.architecture) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    handle: *mut c_void,
    major: *mut c_int,
    minor: *mut c_int,
) -> c_uint {
    call!(handle, card => match card.capability {
        (0, 0) => NOT_SUPPORTED,
        (high, low) => unsafe { put(major, high) + put(minor, low) },
    })
}
#[repr(C)]
pub struct Memory {
    version: c_uint,
    total: c_ulonglong,
    reserved: c_ulonglong,
    free: c_ulonglong,
    used: c_ulonglong,
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(handle: *mut c_void, out: *mut Memory) -> c_uint {
    let gib = 1 << 30;
    call!(handle, card => {
        let size: c_ulonglong = if card.name.contains("80GB") { 80 } else { 48 };
        let (total, free) = (size * gib, (size - 3) * gib);
        unsafe { put(out, Memory { version: (*out).version, total, reserved: gib, free, used: 2 * gib }) }
    })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetEnforcedPowerLimit(handle: *mut c_void, out: *mut c_uint) -> c_uint {
    call!(handle, _card => unsafe { put(out, limit().unwrap_or(DEFAULT_LIMIT) as c_uint) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerManagementLimit(handle: *mut c_void, out: *mut c_uint) -> c_uint {
    unsafe { nvmlDeviceGetEnforcedPowerLimit(handle, out) }
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerManagementDefaultLimit(handle: *mut c_void, out: *mut c_uint) -> c_uint {
    call!(handle, _card => unsafe { put(out, DEFAULT_LIMIT as c_uint) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerManagementLimitConstraints(
    handle: *mut c_void,
    least: *mut c_uint,
    most: *mut c_uint,
) -> c_uint {
    call!(handle, _card => unsafe { put(least, 100_000) + put(most, 350_000) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceSetPowerManagementLimit(handle: *mut c_void, limit: c_uint) -> c_uint {
    call!(handle, _card => {
        match limit_file() {
            _ if std::env::var_os("FAKE_NVML_UNPRIVILEGED").is_some() => NO_PERMISSION,
            // Whole, as others read it at any moment.
            Some(file) => {
                let new = file.with_extension("new");
                let written = std::fs::write(&new, limit.to_string()).and_then(|()| std::fs::rename(&new, &file));
                written.map_or(INVALID, |()| OK)
            }
            None => NOT_SUPPORTED,
        }
    })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMaxClockInfo(handle: *mut c_void, _kind: c_uint, out: *mut c_uint) -> c_uint {
    call!(handle, _card => unsafe { put(out, 2520) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetClockInfo(handle: *mut c_void, _kind: c_uint, out: *mut c_uint) -> c_uint {
    call!(handle, card => if card.capability == (0, 0) { NOT_SUPPORTED } else { unsafe { put(out, 2000) } })
}
/// The highest clocks under load, P8 at rest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPerformanceState(handle: *mut c_void, out: *mut c_uint) -> c_uint {
    call!(handle, card => match card.capability {
        (0, 0) => NOT_SUPPORTED,
        _ => unsafe { put(out, if (card.power)(now()) < 50.0 { 8 } else { 0 }) },
    })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(handle: *mut c_void, _sensor: c_uint, out: *mut c_uint) -> c_uint {
    call!(handle, card => if card.capability == (0, 0) { NOT_SUPPORTED } else { unsafe { put(out, 61) } })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(
    handle: *mut c_void,
    out: *mut c_ulonglong,
) -> c_uint {
    call!(handle, card => unsafe { put(out, card.throttle) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(handle: *mut c_void, now: *mut c_uint, later: *mut c_uint) -> c_uint {
    call!(handle, card => unsafe { put(now, card.mig as c_uint) + put(later, card.mig as c_uint) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetVirtualizationMode(handle: *mut c_void, out: *mut c_uint) -> c_uint {
    call!(handle, card => unsafe { put(out, if card.vgpu { 2 } else { 0 }) })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    handle: *mut c_void,
    kind: c_uint,
    counter: c_uint,
    out: *mut c_ulonglong,
) -> c_uint {
    // Uncorrected and volatile is what is played.
    call!(handle, card => if (kind, counter) == (1, 0) { unsafe { put(out, card.uncorrected) } } else { NOT_SUPPORTED })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetRemappedRows(
    handle: *mut c_void,
    corrected: *mut c_uint,
    uncorrected: *mut c_uint,
    pending: *mut c_uint,
    failed: *mut c_uint,
) -> c_uint {
    let rows = [corrected, uncorrected, pending, failed];
    call!(handle, card => match card.capability {
        (8.., _) => rows.into_iter().zip(card.rows).map(|(out, value)| unsafe { put(out, value) }).sum(),
        _ => NOT_SUPPORTED,
    })
}
#[repr(C)]
pub struct Process {
    pid: c_uint,
    used: c_ulonglong,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    handle: *mut c_void,
    count: *mut c_uint,
    out: *mut Process,
) -> c_uint {
    call!(handle, card => unsafe {
        let room = *count;
        *count = card.strangers;
        if card.strangers == 0 {
            return OK;
        }
        if room < card.strangers || out.is_null() {
            return INSUFFICIENT_SIZE;
        }
        for index in 0..card.strangers {
            put(out.add(index as usize), Process { pid: 1, used: 1 << 30, gpu_instance: !0, compute_instance: !0 });
        }
        OK
    })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEnergyConsumption(handle: *mut c_void, out: *mut c_ulonglong) -> c_uint {
    call!(handle, card => if card.counter_period > 0.0 {
    unsafe { put(out, (counted(card, now()) * 1000.0) as c_ulonglong) }
    } else {
    NOT_SUPPORTED
    })
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(handle: *mut c_void, out: *mut c_uint) -> c_uint {
    call!(handle, card => {
            let power = if card.averaged {
    mean(card, now() - 1.0, 1.0)
    } else {
    seen(card, now())
    };
            if card.capability == (0, 0) { NOT_SUPPORTED } else { unsafe { put(out, (power * 1000.0) as c_uint) } }
        })
}
#[repr(C)]
pub struct Field {
    id: c_uint,
    scope: c_uint,
    timestamp: c_longlong,
    latency: c_longlong,
    kind: c_uint,
    code: c_uint,
    value: Value,
}
#[repr(C)]
pub union Value {
    double: c_double,
    unsigned: c_uint,
    wide: c_ulonglong,
}
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(handle: *mut c_void, count: c_int, out: *mut Field) -> c_uint {
    call!(handle, card => {
        for index in 0..count as usize {
            let field = unsafe { &mut *out.add(index) };
            field.code = if card.instant && field.id == 186 { OK } else { NOT_SUPPORTED };
            field.kind = 1;
            field.value = Value { wide: 0 };
            field.value.unsigned = (seen(card, now()) * 1000.0) as c_uint;
        }
        OK
    })
}
