//! One loop, compiled for several instruction sets and chosen at run time.

/// Defines `$name` as `$body` compiled for each instruction set, chosen at run time.
macro_rules! dispatched {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) = $body:ident) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl")]
                fn avx512($($arg: $ty),*) {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) {
                    $body($($arg),*)
                }
                use $crate::engine::candle::cpu::dot::{CpuLevel, cpu_level};
                match cpu_level() {
                    // SAFETY: the level says that the instructions exist; AVX-512 DQ and VL come with every
                    // AVX-512 CPU since Skylake-X, and are checked.
                    CpuLevel::Avx512 if is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl") => {
                        return unsafe { avx512($($arg),*) };
                    }
                    // SAFETY: the level says that the instructions exist.
                    CpuLevel::Avx512 | CpuLevel::Avx2 => return unsafe { avx2($($arg),*) },
                    CpuLevel::Portable => {}
                }
            }
            $body($($arg),*)
        }
    };
}

pub(super) use dispatched;
