//! Copies between the host and the card, from page-locked and from ordinary memory.

use super::{MeasurementContext, check, random_word};
use crate::device::ceilings::describe_bytes;
use crate::device::cuda::{CudaError, Pinned};
use crate::record::{Bound, CeilingKind};
use crate::units::Seconds;
use std::time::Instant;

/// Bytes of a copy: long enough that its start does not count.
const COPY_BYTES: usize = 256 << 20;

pub(super) fn measure(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    let card = bench.card;
    let bytes = COPY_BYTES.min(card.memory()?.0.0 as usize / 8) / 4096 * 4096;
    let mut there = card.poisoned(bytes)?;
    let mut back = card.poisoned(bytes)?;
    let mut pinned = [Pinned::new(card, bytes)?, Pinned::new(card, bytes)?];
    for (at, word) in pinned[0].words_mut().iter_mut().enumerate() {
        *word = random_word(at as u64, 5);
    }
    let how = format!("copies of {}", describe_bytes(bytes));
    let times = bench.samples(&mut |_| pinned[0].send(card.stream(), &mut there))?;
    bench.keep_rate(CeilingKind::ToDevicePinned, Bound::Roof, bytes as f64, &times, how.clone());
    let times = bench.samples(&mut |_| pinned[1].receive(card.stream(), &there))?;
    card.synchronize()?;
    check(pinned[0].words() == pinned[1].words(), || "what was copied there and back".to_string())?;
    bench.keep_rate(CeilingKind::FromDevicePinned, Bound::Roof, bytes as f64, &times, how.clone());
    both_ways(bench, &mut pinned, &mut there, &mut back, &how)?;
    pageable(bench, &pinned[0], &mut there, &how)
}

/// Host time from the start of two opposite copies on two streams to the end of both.
fn both_ways(
    bench: &mut MeasurementContext<'_>,
    pinned: &mut [Pinned; 2],
    there: &mut crate::device::cuda::Buffer,
    back: &mut crate::device::cuda::Buffer,
    how: &str,
) -> Result<(), CudaError> {
    let card = bench.card;
    let other = card.second_stream()?;
    let mut samples = Vec::new();
    let begin = Instant::now();
    let mut first = true;
    while samples.len() < super::MIN_SAMPLES || begin.elapsed() < bench.time_each {
        card.synchronize()?;
        let start = Instant::now();
        pinned[0].send(card.stream(), there)?;
        pinned[1].receive(&other, back)?;
        card.synchronize()?;
        Pinned::wait(&other)?;
        if !std::mem::take(&mut first) {
            samples.push(2.0 * there.len() as f64 / start.elapsed().as_secs_f64());
        }
    }
    bench.keep(CeilingKind::BothWaysPinned, Bound::Roof, samples, format!("{how} on two streams, both counted"));
    Ok(())
}

/// What a program gets that does not lock its pages; host time, as the driver copies through pages of its own.
fn pageable(
    bench: &mut MeasurementContext<'_>,
    source: &Pinned,
    there: &mut crate::device::cuda::Buffer,
    how: &str,
) -> Result<(), CudaError> {
    let mut host = source.words().to_vec();
    let bytes = there.len() as f64;
    let timed = |bench: &MeasurementContext<'_>, copy: &mut dyn FnMut() -> Result<(), CudaError>| {
        copy()?;
        let mut times = Vec::new();
        let begin = Instant::now();
        while times.len() < super::MIN_SAMPLES || begin.elapsed() < bench.time_each {
            let start = Instant::now();
            copy()?;
            times.push(Seconds(start.elapsed().as_secs_f64()));
        }
        Ok::<_, CudaError>(times)
    };
    let times = timed(bench, &mut || there.upload(&host))?;
    bench.keep_rate(CeilingKind::ToDevicePageable, Bound::Roof, bytes, &times, how.to_string());
    host.fill(0);
    let times = timed(bench, &mut || there.download_into(0, &mut host))?;
    check(host == source.words(), || "what was copied to ordinary memory".to_string())?;
    bench.keep_rate(CeilingKind::FromDevicePageable, Bound::Roof, bytes, &times, how.to_string());
    Ok(())
}
