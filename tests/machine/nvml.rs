//! NVML without a card: a shared library that plays scripts stands in for the driver's, so that the real calls are made.
//! The energy of every script is known.

use crate::support;
use nvml_wrapper::Nvml;
use sizewell::device::{inventory, nvidia};
use sizewell::power::nvml::NvmlPower;
use sizewell::power::window::{EnergyWindow, combine, evaluate};
use sizewell::power::{PowerError, PowerSource, Reading, Throttle};
use sizewell::record::environment::Partition;
use sizewell::units::{Bytes, Seconds, Watts};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The fake, and the one test at a time that it plays for.
struct Fake {
    nvml: &'static Nvml,
    set: unsafe extern "C" fn(u32, u64),
    now_us: u64,
    script: u32,
    _one: MutexGuard<'static, ()>,
}

impl Fake {
    /// Plays `script` from 100 s on.
    fn play(script: u32) -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        static OPENED: OnceLock<Nvml> = OnceLock::new();
        let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let nvml = OPENED.get_or_init(|| nvidia::open(support::fake_nvml::library()).unwrap());
        // SAFETY: the library stays loaded for as long as NVML is open, which is for good.
        let set = unsafe {
            let handle = libloading::Library::new(support::fake_nvml::library()).unwrap();
            let set = *handle.get::<unsafe extern "C" fn(u32, u64)>(b"fake_set").unwrap();
            std::mem::forget(handle);
            set
        };
        let mut fake = Fake { nvml, set, now_us: 0, script, _one: one };
        fake.at(100.0);
        fake
    }

    fn at(&mut self, seconds: f64) {
        self.now_us = (seconds * 1e6) as u64;
        // SAFETY: it stores two numbers.
        unsafe { (self.set)(self.script, self.now_us) };
    }

    fn now(&self) -> f64 {
        self.now_us as f64 / 1e6
    }

    fn open(&mut self, index: u32) -> Result<NvmlPower, PowerError> {
        let nvml = self.nvml;
        // Polling moves the time; the window begins at 100 s all the same.
        let opened = NvmlPower::open_with(nvml, index, &mut || {
            let now = self.now() + 0.0017;
            self.at(now);
            Seconds(now)
        });
        self.at(100.0);
        opened
    }

    /// Reads a window of `seconds` from now on, as the sampler would.
    fn window(&mut self, source: &mut NvmlPower, seconds: f64) -> Result<EnergyWindow, PowerError> {
        let (begin, step) = (self.now(), source.sensor().poll_interval().0);
        let mut readings: Vec<(Seconds, Vec<Reading>)> = Vec::new();
        while self.now() - begin <= seconds {
            readings.push((Seconds(self.now() - begin), source.read()?));
            self.at(self.now() + step);
        }
        evaluate(&source.sensor(), &readings)
    }
}

/// The true energy lies within the error that is stated, and the error is worth stating.
fn holds(window: &EnergyWindow, watts: f64) {
    let off = (window.power().0 / watts - 1.0).abs();
    assert!(off <= window.error && window.error < 0.15, "{off} beyond {}: {window:?}", window.error);
}

#[test]
fn a_plain_card_is_counted() {
    let mut fake = Fake::play(0);
    let mut source = fake.open(0).unwrap();
    let sensor = source.sensor();
    assert_eq!((sensor.method, sensor.part_time), ("nvml_total_energy", false));
    assert!((sensor.update_period.0 - 0.1).abs() < 0.005, "{}", sensor.update_period);
    let window = fake.window(&mut source, 6.0).unwrap();
    holds(&window, 250.0);
    assert!((window.cross_check.unwrap() - 1.0).abs() < 0.01);
    let state = &source.read().unwrap()[0].state;
    assert!(state.foreign_processes.is_none_or(|n| n == 0));
    assert!(fake.window(&mut source, 3.0).unwrap_err().0.starts_with("window_too_short"));
}

#[test]
fn an_h100_takes_four_windows_and_a_load_in_step_shows_or_is_off() {
    let mut fake = Fake::play(1);
    let mut source = fake.open(0).unwrap();
    assert_eq!(source.sensor().windows(), 4);
    let windows: Vec<EnergyWindow> = [0.0, 0.037, 0.081, 0.012]
        .map(|phase| {
            fake.at(fake.now() + phase);
            fake.window(&mut source, 5.2).unwrap()
        })
        .into();
    holds(&combine(&windows).unwrap(), 500.0);
    drop(fake);
    // In step with the sensor nothing helps but knowing of it: it reads 700 W where 400 W flow, which is why a load is
    // never a single kernel repeated in time with the sensor, and why the sensor is recorded as part-time.
    let mut fake = Fake::play(2);
    let mut source = fake.open(0).unwrap();
    assert!(source.sensor().record().part_time);
    let window = fake.window(&mut source, 5.2).unwrap();
    assert!((window.power().0 - 700.0).abs() < 40.0);
}

#[test]
fn a_mean_of_a_second_is_left_to_settle() {
    let mut fake = Fake::play(3);
    let mut source = fake.open(0).unwrap();
    assert_eq!((source.sensor().averaging, source.sensor().settling()), (Seconds(1.0), Seconds(1.0)));
    let window = fake.window(&mut source, 6.0).unwrap();
    holds(&window, 240.0);
    assert!((window.cross_check.unwrap() - 1.0).abs() < 0.02, "{window:?}");
}

#[test]
fn a_power_cap_is_recorded_and_heat_spoils() {
    let mut fake = Fake::play(4);
    let mut source = fake.open(0).unwrap();
    let window = fake.window(&mut source, 6.0).unwrap();
    holds(&window, 69.5);
    assert_eq!(window.throttle, [Throttle::PowerCap]);
    assert!(!window.throttle[0].spoils());
    drop(fake);
    let mut fake = Fake::play(11);
    let mut source = fake.open(0).unwrap();
    let window = fake.window(&mut source, 6.0).unwrap();
    assert!(window.throttle.iter().any(|reason| reason.spoils()));
}

#[test]
fn parts_and_virtual_cards_have_no_meter() {
    for (script, partition) in [(5, Partition::Mig), (6, Partition::Vgpu)] {
        let mut fake = Fake::play(script);
        let error = fake.open(0).map(|_| ()).unwrap_err().0;
        assert!(error.starts_with("unsupported_partition"), "{error}");
        assert_eq!(nvidia::cards(fake.nvml).unwrap()[0].partition, Some(partition));
    }
}

#[test]
fn a_reset_counter_gives_way_to_the_trace() {
    let mut fake = Fake::play(7);
    let mut source = fake.open(0).unwrap();
    let window = fake.window(&mut source, 8.0).unwrap();
    assert_eq!(window.method, "integrated_power");
    holds(&window, 250.0);
}

#[test]
fn a_lost_card_voids_the_window() {
    let mut fake = Fake::play(8);
    let mut source = fake.open(0).unwrap();
    assert!(fake.window(&mut source, 8.0).unwrap_err().0.starts_with("gpu_lost"));
}

#[test]
fn what_is_not_supported_is_absent() {
    let mut fake = Fake::play(9);
    assert!(fake.open(0).map(|_| ()).unwrap_err().0.contains("neither counts energy nor reads power"));
    let card = &nvidia::cards(fake.nvml).unwrap()[0];
    assert_eq!((card.compute_capability.as_deref(), card.ecc, card.pcie.as_deref()), (None, None, None));
    drop(fake);
    // Power without a counter is integrated.
    let mut fake = Fake::play(12);
    let mut source = fake.open(0).unwrap();
    assert_eq!(source.sensor().method, "nvml_average");
    let window = fake.window(&mut source, 6.0).unwrap();
    assert_eq!((window.method, window.cross_check), ("integrated_power", None));
    holds(&window, 250.0);
}

#[test]
fn each_card_is_its_own_and_strangers_void_it() {
    let mut fake = Fake::play(10);
    let mut idle = fake.open(0).unwrap();
    holds(&fake.window(&mut idle, 6.0).unwrap(), 30.0);
    let mut busy = fake.open(1).unwrap();
    assert!(fake.window(&mut busy, 6.0).unwrap_err().0.starts_with("foreign_process: 1"));
    assert!(fake.open(2).map(|_| ()).unwrap_err().0.contains("cannot be opened"));
}

#[test]
fn idle_power_comes_with_the_state_it_was_read_in() {
    let mut fake = Fake::play(10);
    let mut source = fake.open(0).unwrap();
    let idle = sizewell::power::idle::read(&mut source, &mut |time| {
        let now = fake.now() + time.0;
        fake.at(now);
        Some(Seconds(now))
    })
    .unwrap();
    assert!((idle.power.0 / 30.0 - 1.0).abs() < 0.02, "{idle:?}");
    assert_eq!(idle.performance_state, Some(8));
}

#[test]
fn cards_are_described() {
    let fake = Fake::play(0);
    let card = &nvidia::cards(fake.nvml).unwrap()[0];
    assert_eq!((card.name.as_str(), card.architecture.as_deref()), ("NVIDIA L40S", Some("Ada")));
    assert_eq!(card.compute_capability.as_deref(), Some("8.9"));
    assert_eq!(card.memory_bytes, Some(Bytes(48.0 * 1024f64.powi(3))));
    assert_eq!((card.power_limit_w, card.least_power_limit_w), (Some(Watts(350.0)), Some(Watts(100.0))));
    assert_eq!((card.driver.as_deref(), card.cuda.as_deref()), (Some("575.57.08"), Some("12.9")));
    drop(fake);
    let fake = Fake::play(13);
    assert!(nvidia::cards(fake.nvml).unwrap().is_empty());
}

#[test]
fn without_a_driver_it_says_so() {
    let error = nvidia::open(std::path::Path::new("/nowhere/libnvidia-ml.so.1")).map(|_| ()).unwrap_err();
    assert!(error.contains("no NVIDIA driver") && error.contains("/nowhere/libnvidia-ml.so.1"), "{error}");
    let devices = inventory::devices();
    assert_eq!(devices[0].id, "cpu");
    assert!(devices.len() > 1);
}

#[test]
fn errors_of_a_cards_memory_are_recorded() {
    let fake = Fake::play(14);
    let sick = nvidia::cards(fake.nvml).unwrap().remove(0);
    let errors = sick.memory_errors.unwrap();
    assert_eq!((errors.uncorrected, errors.remapped_rows), (Some(3), Some(3)));
    assert_eq!((errors.repair_pending, errors.repair_failed), (Some(true), Some(false)));
    assert!(sick.memory_fault().unwrap().contains("reset the card"));
    drop(fake);
    let fake = Fake::play(0);
    assert_eq!(nvidia::cards(fake.nvml).unwrap().remove(0).memory_fault(), None);
    drop(fake);
    // A card of the Turing generation replaces no rows.
    let fake = Fake::play(4);
    let errors = nvidia::cards(fake.nvml).unwrap().remove(0).memory_errors.unwrap();
    assert_eq!((errors.uncorrected, errors.remapped_rows, errors.repair_failed), (Some(0), None, None));
}
