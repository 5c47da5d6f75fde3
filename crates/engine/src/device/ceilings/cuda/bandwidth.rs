//! Bandwidth of the card's memory and of its second-level cache.

use super::{MeasurementContext, PART_OF_L2, THREADS, check, random_word};
use crate::device::ceilings::describe_bytes;
use crate::device::cuda::{Arg, Buffer, CudaError};
use crate::device::memory;
use crate::record::{Bound, CeilingKind};
use rayon::prelude::*;

/// An array takes this part of the card's memory: as long as memory and bandwidth grow together, a pass takes half a
/// millisecond or more, beside which the start and the end of a kernel are half a hundredth.
const PART_OF_MEMORY: f64 = 40.0;
/// And this part of what the host has free at most: results are checked there.
const PART_OF_HOST: f64 = 8.0;
/// Arrays that must fit besides what else the card holds: two that take turns, and three of triad.
const ARRAYS: f64 = 4.0;
/// Caches of chips that have them in two halves are larger than this (A30: 24 MiB), those in one piece and smaller
/// chips' are not (A10G: 6 MiB); of larger ones in one piece (L4: 48 MiB) a quarter is as good.
const LEAST_L2_OF_HALVES: usize = 16 << 20;

pub(super) fn measure(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    let card = bench.card;
    let free = card.memory()?.0.0;
    let least = 4.0 * card.facts.l2_bytes as f64;
    let host = memory::available().0 / PART_OF_HOST;
    let bytes = (card.facts.memory.0 / PART_OF_MEMORY).max(least).min(free / ARRAYS / 2.0).min(host);
    let bytes = bytes as usize / 4096 * 4096;
    if (bytes as f64) < 2.0 * card.facts.l2_bytes as f64 {
        return Err(CudaError::Unsupported(
            "too little memory is free, on the card or the host, for arrays of twice the cache".to_string(),
        ));
    }
    let mut arrays = [random(bench, bytes, 1)?, random(bench, bytes, 2)?, card.alloc(bytes)?];
    let how = format!("arrays of {} that take turns, random data", describe_bytes(bytes));
    read(bench, &arrays, &how)?;
    copy(bench, &mut arrays, &how)?;
    write(bench, &mut arrays, &how)?;
    triad(bench, &mut arrays, &how)?;
    drop(arrays);
    l2(bench)
}

/// An array of random words.
pub(super) fn random(bench: &MeasurementContext<'_>, bytes: usize, seed: u32) -> Result<Buffer, CudaError> {
    let buffer = bench.card.poisoned(bytes)?;
    let fill = bench.card.kernel("bandwidth", "fill_random")?;
    let args = [Arg::from(&buffer), Arg::U64(bytes as u64 / 4), Arg::U32(seed)];
    // SAFETY: the buffer holds that many words.
    unsafe { fill.launch(bench.card, (bench.blocks(), 1, 1), THREADS, 0, &args)? };
    Ok(buffer)
}

/// The xor of all words of such an array.
fn xor_of_random(bytes: usize, seed: u32) -> u32 {
    (0..bytes as u64 / 4).into_par_iter().map(|at| random_word(at, seed)).reduce(|| 0, |a, b| a ^ b)
}

fn xor_of(words: &[u32]) -> u32 {
    words.iter().fold(0, |a, b| a ^ b)
}

fn read(bench: &mut MeasurementContext<'_>, arrays: &[Buffer; 3], how: &str) -> Result<(), CudaError> {
    let (card, blocks) = (bench.card, bench.blocks());
    let bytes = arrays[0].len();
    let kernel = card.kernel("bandwidth", "read_bandwidth")?;
    let out = card.poisoned(blocks as usize * 4)?;
    let launch = |which: usize| {
        let args = [Arg::from(&arrays[which % 2]), Arg::U64(bytes as u64 / 16), Arg::from(&out)];
        // SAFETY: the array holds that many units, and the output a word for each block.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, 0, &args) }
    };
    let times = bench.samples(&mut |number| launch(number))?;
    for which in 0..2 {
        launch(which)?;
        let got = xor_of(&out.download::<u32>(blocks as usize)?);
        check(got == xor_of_random(bytes, which as u32 + 1), || "the checksum of what was read".to_string())?;
    }
    bench.keep_rate(CeilingKind::ReadBandwidth, Bound::Roof, bytes as f64, &times, how.to_string());
    Ok(())
}

fn copy(bench: &mut MeasurementContext<'_>, arrays: &mut [Buffer; 3], how: &str) -> Result<(), CudaError> {
    let (card, blocks) = (bench.card, bench.blocks());
    let bytes = arrays[0].len();
    let kernel = card.kernel("bandwidth", "copy_bandwidth")?;
    arrays[2].fill(0xff)?;
    let times = bench.samples(&mut |number| {
        let args = [Arg::from(&arrays[2]), Arg::from(&arrays[number % 2]), Arg::U64(bytes as u64 / 16)];
        // SAFETY: both arrays hold that many units.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, 0, &args) }
    })?;
    // Which of the two came last is known by its first word.
    let words = arrays[2].download::<u32>(bytes / 4)?;
    let seed = if words.first() == Some(&random_word(0, 1)) { 1 } else { 2 };
    let same = words.par_iter().enumerate().all(|(at, word)| *word == random_word(at as u64, seed));
    check(same, || "what was copied".to_string())?;
    bench.keep_rate(
        CeilingKind::CopyBandwidth,
        Bound::Roof,
        2.0 * bytes as f64,
        &times,
        format!("{how}, read + written"),
    );
    Ok(())
}

fn write(bench: &mut MeasurementContext<'_>, arrays: &mut [Buffer; 3], how: &str) -> Result<(), CudaError> {
    const SEED: u32 = 7;
    let (card, blocks) = (bench.card, bench.blocks());
    let bytes = arrays[0].len();
    let kernel = card.kernel("bandwidth", "write_bandwidth")?;
    arrays[2].fill(0xff)?;
    let times = bench.samples(&mut |number| {
        let args = [Arg::from(&arrays[2 - number % 2]), Arg::U64(bytes as u64 / 16), Arg::U32(SEED)];
        // SAFETY: the arrays hold that many units.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, 0, &args) }
    })?;
    let words = arrays[2].download::<u32>(bytes / 4)?;
    let expected = |at: usize| (at as u32).wrapping_mul(0x9e37_79b1).wrapping_add(SEED);
    let same = words.par_iter().enumerate().all(|(at, word)| *word == expected(at));
    check(same, || "what was written".to_string())?;
    bench.keep_rate(CeilingKind::WriteBandwidth, Bound::Roof, bytes as f64, &times, how.to_string());
    Ok(())
}

fn triad(bench: &mut MeasurementContext<'_>, arrays: &mut [Buffer; 3], how: &str) -> Result<(), CudaError> {
    const SCALE: f32 = 3.0;
    let (card, blocks) = (bench.card, bench.blocks());
    let bytes = arrays[0].len();
    let kernel = card.kernel("bandwidth", "triad_bandwidth")?;
    // Random bits are not all numbers: here the words become floats between 0 and 1.
    let numbers = |seed: u32| -> Vec<f32> {
        (0..bytes as u64 / 4).into_par_iter().map(|at| (random_word(at, seed) >> 8) as f32 / 16_777_216.0).collect()
    };
    let (b, c) = (numbers(1), numbers(2));
    arrays[0].upload(&b)?;
    arrays[1].upload(&c)?;
    arrays[2].fill(0xff)?;
    let times = bench.samples(&mut |_| {
        let args = [
            Arg::from(&arrays[2]),
            Arg::from(&arrays[0]),
            Arg::from(&arrays[1]),
            Arg::F32(SCALE),
            Arg::U64(bytes as u64 / 16),
        ];
        // SAFETY: all three arrays hold that many units.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, 0, &args) }
    })?;
    let a = arrays[2].download::<f32>(bytes / 4)?;
    let same = a.par_iter().zip(b.par_iter().zip(&c)).all(|(a, (b, c))| *a == SCALE.mul_add(*c, *b));
    check(same, || "the sums of triad".to_string())?;
    let how = format!("{}, read + written", how.replace(" that take turns, random data", ""));
    bench.keep_rate(CeilingKind::TriadBandwidth, Bound::Roof, 3.0 * bytes as f64, &times, how);
    Ok(())
}

/// The second-level cache, by a set that stays there.
fn l2(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    let (card, blocks) = (bench.card, bench.blocks());
    let bytes = l2_set(card.facts.l2_bytes) / 4096 * 4096;
    if bytes == 0 {
        bench.measured.absent.push(format!("{}: the card does not say its size", CeilingKind::L2Bandwidth.label()));
        return Ok(());
    }
    let array = random(bench, bytes, 3)?;
    let out = card.poisoned(blocks as usize * 4)?;
    let kernel = card.kernel("bandwidth", "l2_bandwidth")?;
    let launch = |rounds: u32| {
        let args = [Arg::from(&array), Arg::U64(bytes as u64 / 16), Arg::U32(rounds), Arg::from(&out)];
        // SAFETY: the array holds that many units, and the output a word for each block.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, 0, &args) }
    };
    // An odd number of rounds leaves the checksum of one.
    let slope = bench.slope(&mut |rounds| launch(rounds))?;
    let got = xor_of(&out.download::<u32>(blocks as usize)?);
    check(got == xor_of_random(bytes, 3), || "the checksum of what the cache gave".to_string())?;
    let how = format!("{} read again and again, {}", describe_bytes(bytes), slope.how());
    bench.keep_rate(CeilingKind::L2Bandwidth, Bound::Roof, bytes as f64, &slope.each, how);
    Ok(())
}

/// Bytes of a set that stays in a second-level cache of `l2` bytes. Small caches are in one piece; a quarter of one
/// would leave most threads of a chip without anything to load.
fn l2_set(l2: usize) -> usize {
    if l2 < LEAST_L2_OF_HALVES { l2 / 2 } else { l2 / PART_OF_L2 }
}

#[cfg(test)]
mod tests {
    use super::l2_set;

    #[test]
    fn a_set_stays_in_the_half_that_is_near() {
        let mib = 1 << 20;
        // H100 and A100 have two halves, A10G and T4 one piece.
        assert_eq!([50, 40, 6, 4].map(|l2| l2_set(l2 * mib)), [50 * mib / 4, 10 * mib, 3 * mib, 2 * mib]);
    }
}
