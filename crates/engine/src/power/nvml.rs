//! Energy and state of one NVIDIA card through NVML: the driver's energy counter, the instantaneous power beside it,
//! clocks, temperature, throttling and other processes.

use super::{DeviceState, PowerError, PowerSource, Reading, Sensor, Throttle};
use crate::device::nvidia;
use crate::record::environment::Partition;
use crate::record::run::NVML;
use crate::units::{Bytes, Joules, Seconds, Watts};
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::{DeviceArchitecture, SampleValue};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::{Device, Nvml};
use std::time::{Duration, Instant};

/// `NVML_FI_DEV_POWER_INSTANT`: power now, where `power_usage` is the mean of a second on most cards.
const POWER_INSTANT: FieldId = FieldId(186);
/// States are read this often: they take longer than the counters.
const STATE_PERIOD: Duration = Duration::from_millis(200);
/// The update period is looked for this long, whatever a poll costs (on cards whose own processor answers, milliseconds),
/// with so many polls at most, and the time between two.
const POLL_TIME: Seconds = Seconds(2.0);
const POLLS: usize = 1000;
const POLL_GAP: Duration = Duration::from_millis(1);
/// Update period of the counters where it does not show.
const USUAL_PERIOD: Seconds = Seconds(0.1);
/// Error of board sensors without calibration, and of GeForce cards of the Turing generation, as shares (measured by
/// Yang, Adamek and Armour, "Part-time Power Measurements", arXiv:2312.02741, against shunts).
const BOARD_ERROR: f64 = 0.06;
const GEFORCE_TURING_ERROR: f64 = 0.10;

/// The meters of one card.
pub struct NvmlPower {
    card: Device<'static>,
    zone: String,
    sensor: Sensor,
    counts: bool,
    first_mj: Option<u64>,
    state: DeviceState,
    state_read: Option<Instant>,
}

impl NvmlPower {
    /// Opens the card that is `cuda:index` on this machine and finds out how often its meter moves, which takes a second or two.
    pub fn open(index: u32) -> Result<Self, PowerError> {
        let nvml = nvidia::nvml().map_err(PowerError)?;
        let index = nvidia::index_in_nvml(nvml, index);
        let begin = Instant::now();
        Self::open_with(nvml, index, &mut || {
            std::thread::sleep(POLL_GAP);
            Seconds(begin.elapsed().as_secs_f64())
        })
    }

    /// Opens card `index` of `nvml`. `wait` lets a moment pass and says what time it is: tests have their own time.
    pub fn open_with(nvml: &'static Nvml, index: u32, wait: &mut dyn FnMut() -> Seconds) -> Result<Self, PowerError> {
        let card = nvml.device_by_index(index).map_err(|e| failed("the card cannot be opened", e))?;
        match nvidia::partition(&card) {
            Some(Partition::Mig) => {
                return Err(PowerError(
                    "unsupported_partition: the card is split (MIG), its meter counts all parts".into(),
                ));
            }
            Some(Partition::Vgpu) => {
                return Err(PowerError("unsupported_partition: a virtual GPU has no meter of its own".into()));
            }
            None => {}
        }
        let counts = card.total_energy_consumption().is_ok();
        let (power, instant) = match power_of(&card) {
            Ok((_, instant)) => (true, instant),
            Err(error) if is_lost(&error) => return Err(failed(POWER_READING, error)),
            Err(_) => (false, false),
        };
        if !counts && !power {
            return Err(PowerError("no power meter: the card neither counts energy nor reads power".to_string()));
        }
        let update_period = update_period(&mut || meter(&card, counts), wait);
        let method = match (counts, instant) {
            (true, _) => "nvml_total_energy",
            (false, true) => "nvml_instant",
            (false, false) => "nvml_average",
        };
        let architecture = card.architecture().unwrap_or(DeviceArchitecture::Unknown);
        let name = card.name().unwrap_or_default();
        let sensor = Sensor { method, update_period, ..habits(&architecture, &name, instant) };
        let zone = format!("gpu{index}");
        Ok(Self { card, zone, sensor, counts, first_mj: None, state: DeviceState::default(), state_read: None })
    }

    fn read_state(&mut self) -> Result<(), PowerError> {
        let card = &self.card;
        self.state = DeviceState {
            sm_clock_mhz: optional(card.clock_info(Clock::SM))?.map(f64::from),
            performance_state: optional(card.performance_state())?.map(|state| state.as_c()).filter(|p| *p < 16),
            temperature_c: optional(card.temperature(TemperatureSensor::Gpu))?.map(f64::from),
            throttle: optional(card.current_throttle_reasons())?.map(reasons).unwrap_or_default(),
            memory_used: optional(card.memory_info())?.map(|memory| Bytes(memory.used as f64)),
            foreign_processes: nvidia::foreign_processes(card).map(|others| others.len()),
        };
        Ok(())
    }
}

impl PowerSource for NvmlPower {
    fn name(&self) -> &'static str {
        NVML
    }

    fn zones(&self) -> Vec<String> {
        vec![self.zone.clone()]
    }

    fn sensor(&self) -> Sensor {
        self.sensor
    }

    fn read(&mut self) -> Result<Vec<Reading>, PowerError> {
        let energy = if self.counts {
            let now = self.card.total_energy_consumption().map_err(|e| failed("the energy counter", e))?;
            let first = *self.first_mj.get_or_insert(now);
            Some(Joules((now as f64 - first as f64) / 1000.0))
        } else {
            None
        };
        let power = match power_of(&self.card) {
            Ok((power, _)) => Some(power),
            Err(error) if energy.is_none() || is_lost(&error) => return Err(failed(POWER_READING, error)),
            Err(_) => None,
        };
        // Old states do not speak for the present: between two readings of them a reading has none.
        let state = match self.state_read {
            Some(read) if read.elapsed() < STATE_PERIOD => DeviceState::default(),
            _ => {
                self.read_state()?;
                self.state_read = Some(Instant::now());
                self.state.clone()
            }
        };
        Ok(vec![Reading { energy, power, state }])
    }
}

/// Power now, and whether it is the instantaneous one.
fn power_of(card: &Device<'_>) -> Result<(Watts, bool), NvmlError> {
    let instant = card.field_values_for(&[POWER_INSTANT]).ok().and_then(|values| values.into_iter().next());
    let value = instant.and_then(Result::ok).and_then(|sample| sample.value.ok());
    let milliwatts = value.and_then(|value| match value {
        SampleValue::U32(mw) => Some(mw as f64),
        SampleValue::U64(mw) => Some(mw as f64),
        _ => None,
    });
    match milliwatts {
        Some(mw) => Ok((Watts(mw / 1000.0), true)),
        None => card.power_usage().map(|mw| (Watts(mw as f64 / 1000.0), false)),
    }
}

/// What the update period is looked for in: the counter, or the power where there is none.
fn meter(card: &Device<'_>, counts: bool) -> Option<f64> {
    if counts {
        card.total_energy_consumption().ok().map(|mj| mj as f64)
    } else {
        power_of(card).ok().map(|(power, _)| power.0)
    }
}

/// The median time between two changes of a meter that is read as often as can be.
fn update_period(read: &mut dyn FnMut() -> Option<f64>, wait: &mut dyn FnMut() -> Seconds) -> Seconds {
    let (mut last, mut changed) = (None, None);
    let mut gaps: Vec<f64> = Vec::new();
    let begin = wait();
    for _ in 0..POLLS {
        let now = wait();
        if now - begin > POLL_TIME {
            break;
        }
        let Some(value) = read() else { break };
        if last.is_some_and(|last| last != value)
            && let Some(before) = changed.replace(now)
        {
            gaps.push((now - before).0);
        }
        last = Some(value);
    }
    gaps.sort_by(f64::total_cmp);
    match gaps.get(gaps.len() / 2) {
        Some(median) if gaps.len() >= 3 => Seconds(*median),
        _ => USUAL_PERIOD,
    }
}

/// What is known of the sensors of a generation (arXiv:2312.02741): chips of the A100's and the H100's kind look at the
/// power a quarter of the time; nothing is published of later ones, which are taken to do so too.
fn habits(architecture: &DeviceArchitecture, name: &str, instant: bool) -> Sensor {
    use DeviceArchitecture::*;
    let ga100 = ["A100", "A800", "A30"].iter().any(|chip| {
        // Not A3000 and the like.
        name.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == *chip)
    });
    let part_time = match architecture {
        Ampere => ga100,
        Kepler | Maxwell | Pascal | Volta | Turing | Ada => false,
        _ => true,
    };
    let averaging = match architecture {
        Volta | Pascal => 0.010,
        Turing | Kepler | Maxwell => 0.1,
        Ampere if ga100 => 0.025,
        Ampere | Ada if instant => 0.1,
        _ if instant => 0.025,
        _ => 1.0,
    };
    let geforce_turing = matches!(architecture, Turing) && name.contains("GeForce");
    Sensor {
        method: "",
        update_period: USUAL_PERIOD,
        averaging: Seconds(averaging),
        part_time,
        error: Some(if geforce_turing { GEFORCE_TURING_ERROR } else { BOARD_ERROR }),
    }
}

fn reasons(bits: ThrottleReasons) -> Vec<Throttle> {
    let thermal = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
    let set = ThrottleReasons::APPLICATIONS_CLOCKS_SETTING;
    let kinds = [
        (ThrottleReasons::SW_POWER_CAP, Throttle::PowerCap),
        (thermal, Throttle::Thermal),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, Throttle::PowerBrake),
        (set, Throttle::ClocksSet),
    ];
    kinds.into_iter().filter(|(mask, _)| bits.intersects(*mask)).map(|(_, kind)| kind).collect()
}

/// What the card does not support is absent; a card that is gone is an error.
fn optional<T>(result: Result<T, NvmlError>) -> Result<Option<T>, PowerError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_lost(&error) => Err(failed("the card", error)),
        Err(_) => Ok(None),
    }
}

/// What could not be read where the power could not.
const POWER_READING: &str = "the power reading";

/// The card is gone, and with it every later reading.
fn is_lost(error: &NvmlError) -> bool {
    matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired)
}

fn failed(what: &str, error: NvmlError) -> PowerError {
    match error {
        NvmlError::GpuLost => PowerError("gpu_lost: the card fell off the bus during the window".to_string()),
        NvmlError::ResetRequired => PowerError("gpu_lost: the card needs a reset".to_string()),
        other => PowerError(format!("{what}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_update_period_is_the_median_gap_between_changes() {
        let time = std::cell::Cell::new(0.0);
        let period = update_period(&mut || Some((time.get() / 0.02f64).floor()), &mut || {
            time.set(time.get() + 0.0013);
            Seconds(time.get())
        });
        assert!((period.0 - 0.02).abs() < 0.002, "{period}");
        assert_eq!(update_period(&mut || Some(1.0), &mut || Seconds(0.0)), USUAL_PERIOD);
        // A poll that takes 8 ms: 250 of them, not a thousand, and the period is found all the same.
        let (time, polls) = (std::cell::Cell::new(0.0), std::cell::Cell::new(0));
        let period = update_period(
            &mut || {
                polls.set(polls.get() + 1);
                time.set(time.get() + 0.007);
                Some((time.get() / 0.1f64).floor())
            },
            &mut || {
                time.set(time.get() + 0.001);
                Seconds(time.get())
            },
        );
        assert!((period.0 - 0.1).abs() < 0.01 && (240..260).contains(&polls.get()), "{period} {}", polls.get());
        assert_eq!(update_period(&mut || None, &mut || Seconds(0.0)), USUAL_PERIOD);
    }

    #[test]
    fn generations_have_their_habits() {
        use DeviceArchitecture::*;
        let of = |architecture, name, instant| {
            let sensor = habits(&architecture, name, instant);
            (sensor.part_time, sensor.averaging.0, sensor.error.unwrap())
        };
        assert_eq!(of(Hopper, "NVIDIA H100 80GB HBM3", true), (true, 0.025, 0.06));
        assert_eq!(of(Hopper, "NVIDIA H100 80GB HBM3", false), (true, 1.0, 0.06));
        assert_eq!(of(Ampere, "NVIDIA A100-SXM4-80GB", true), (true, 0.025, 0.06));
        assert_eq!(of(Ampere, "NVIDIA A10G", false), (false, 1.0, 0.06));
        assert_eq!(of(Ampere, "NVIDIA RTX A3000", true), (false, 0.1, 0.06));
        assert_eq!(of(Turing, "Tesla T4", false), (false, 0.1, 0.06));
        assert_eq!(of(Turing, "NVIDIA GeForce RTX 2060 SUPER", true), (false, 0.1, 0.10));
        assert!(of(Blackwell, "NVIDIA B200", true).0);
    }
}
