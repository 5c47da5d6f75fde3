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
                use $crate::engine::backend::cpu::simd::Level;
                match Level::best() {
                    // SAFETY: the level says that the instructions exist.
                    Level::Avx512Vnni => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Level::AvxVnni | Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Neon | Level::Portable => {}
                }
            }
            $body($($arg),*)
        }
    };
}

pub(super) use dispatched;
