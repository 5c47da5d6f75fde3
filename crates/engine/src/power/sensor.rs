//! What is known of a power sensor: how often it speaks, what a reading is a mean of, and how far off it can be.

use crate::record::run::SensorRecord;
use crate::units::Seconds;

/// A sensor's habits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sensor {
    /// Where its energy is from, such as `nvml_total_energy`.
    pub method: &'static str,
    /// Time between two changes of what it says.
    pub update_period: Seconds,
    /// Each reading of power is a mean over this long.
    pub averaging: Seconds,
    /// It looks at the power during a part of the time only, so that a load in step with it is misread.
    pub part_time: bool,
    /// How far off a sensor of this kind can be, as a share (about two standard deviations), where that is known.
    pub error: Option<f64>,
}

/// Windows shorter than this have no energy.
pub const LEAST_WINDOW: Seconds = Seconds(5.0);
/// Nor have windows with fewer updates than this.
pub const LEAST_UPDATES: f64 = 50.0;
/// Windows that a part-time sensor needs, at phases that differ.
pub const PART_TIME_WINDOWS: usize = 4;

impl Sensor {
    /// The shortest window that gives an energy: 5 s and 50 updates.
    pub fn least_window(&self) -> Seconds {
        Seconds(LEAST_WINDOW.0.max(LEAST_UPDATES * self.update_period.0))
    }

    /// How often to read: twice an update, within 10 and 100 ms. A meter that moves at every read, as one that is asked
    /// through to the device, is not to be asked a thousand times a second: that would take time of what is measured.
    /// States are wanted twice a second at the least, and counters that wrap want a reading within minutes.
    pub fn poll_interval(&self) -> Seconds {
        Seconds((self.update_period.0 / 2.0).clamp(0.01, 0.1))
    }

    /// What the start of a window still holds of the time before it.
    pub fn settling(&self) -> Seconds {
        if self.averaging.0 >= 0.5 { Seconds(1.0) } else { Seconds(0.3) }
    }

    /// Windows to take.
    pub fn windows(&self) -> usize {
        if self.part_time { PART_TIME_WINDOWS } else { 1 }
    }

    /// What run.json says of it.
    pub fn record(&self) -> SensorRecord {
        SensorRecord {
            method: self.method.to_string(),
            update_period_s: self.update_period,
            averaging_s: self.averaging,
            part_time: self.part_time,
            error: self.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_that_moves_at_every_read_is_read_a_hundred_times_a_second() {
        let of = |period| {
            let sensor = Sensor {
                method: "test",
                update_period: Seconds(period),
                averaging: Seconds(0.0),
                part_time: false,
                error: None,
            };
            sensor.poll_interval().0
        };
        assert_eq!([0.0011, 0.02, 0.1, 1.0].map(of), [0.01, 0.01, 0.05, 0.1]);
    }
}
