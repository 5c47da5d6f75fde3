//! The kernels of `kernels/` as this program carries them: machine code of the usual cards, which runs as it is, and PTX
//! for all others, which the driver compiles when a process starts (some seconds, unless it has kept the result).

use flate2::read::GzDecoder;
use include_dir::{Dir, include_dir};
use std::io::Read;
use std::sync::LazyLock;

static PTX: Dir<'static> = include_dir!("$OUT_DIR/ptx");
static CODE: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../kernels/machine-code");

/// Set to anything, no machine code is used: for the time that a driver takes to compile, and where code does wrong.
pub const PTX_VARIABLE: &str = "SIZEWELL_PTX";

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text that the driver compiles.
    Ptx,
    /// Instructions of one generation of cards.
    MachineCode,
}

/// One embedded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// The source without its ending, such as `bandwidth`.
    pub source: &'static str,
    /// Of PTX the least compute capability, such as 80 for 8.0; of machine code that of the card that it was made for.
    pub target: u32,
    /// Whether it runs on that capability alone (`sm_90a`).
    pub only: bool,
    /// What it holds.
    pub form: Form,
    bytes: &'static [u8],
}

impl Image {
    /// What the driver is given: PTX as text without a zero at its end, machine code as an ELF file. `None` where the
    /// embedded file is broken.
    pub fn unpacked(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        GzDecoder::new(self.bytes).read_to_end(&mut bytes).ok().map(|_| bytes)
    }

    /// Whether a card of this compute capability runs it. Machine code runs on cards of its generation that are not older.
    fn runs_on(&self, (major, minor): (u32, u32)) -> bool {
        let own = major * 10 + minor;
        match self.form {
            _ if self.only => self.target == own,
            Form::Ptx => self.target <= own,
            Form::MachineCode => self.target <= own && self.target / 10 == major,
        }
    }
}

/// Every embedded file.
pub static IMAGES: LazyLock<Vec<Image>> = LazyLock::new(|| {
    let read = |file: &'static include_dir::File<'static>, ending: &str, form: Form| {
        let name = file.path().file_name()?.to_str()?.strip_suffix(ending)?;
        let (source, target) = name.split_once(".sm_")?;
        let only = target.ends_with('a');
        let target = target.trim_end_matches('a').parse().ok()?;
        Some(Image { source, target, only, form, bytes: file.contents() })
    };
    let ptx = PTX.files().filter_map(|file| read(file, ".ptx.gz", Form::Ptx));
    let code = CODE.files().filter_map(|file| read(file, ".cubin.gz", Form::MachineCode));
    ptx.chain(code).collect()
});

/// The files of `source` that a card of this compute capability can run, the best first: machine code before PTX, and of
/// each the newest.
pub(super) fn candidates(source: &str, capability: (u32, u32)) -> Vec<Image> {
    let no_code = std::env::var_os(PTX_VARIABLE).is_some();
    let fits = |image: &&Image| {
        image.source == source && image.runs_on(capability) && !(no_code && image.form == Form::MachineCode)
    };
    let mut found: Vec<Image> = IMAGES.iter().filter(fits).copied().collect();
    found.sort_by_key(|image| std::cmp::Reverse((image.form == Form::MachineCode, image.target, image.only)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(source: &str, capability: (u32, u32)) -> Vec<(Form, u32, bool)> {
        candidates(source, capability).iter().map(|image| (image.form, image.target, image.only)).collect()
    }

    #[test]
    fn machine_code_comes_first_and_the_newest_that_fits() {
        use Form::*;
        assert_eq!(targets("bandwidth", (7, 0)), [(Ptx, 70, false)]);
        assert_eq!(targets("bandwidth", (12, 0)), [(MachineCode, 120, false), (Ptx, 70, false)]);
        assert_eq!(targets("bandwidth", (6, 1)), []);
        assert_eq!(targets("wgmma", (9, 0)), [(MachineCode, 90, true), (Ptx, 90, true)]);
        // Instructions of the `a` targets are in no later card.
        assert_eq!(targets("wgmma", (10, 0)), []);
        let tensor = [(MachineCode, 86, false), (MachineCode, 80, false), (Ptx, 80, false), (Ptx, 75, false)];
        assert_eq!(targets("tensor", (8, 6)), tensor);
        // A card that came later in a generation takes the generation's code; of another generation it takes none.
        assert_eq!(targets("bias", (10, 3)), [(MachineCode, 100, false), (Ptx, 70, false)]);
        assert_eq!(targets("bias", (11, 0)), [(Ptx, 70, false)]);
        assert_eq!(targets("no such file", (9, 0)), []);
    }

    #[test]
    fn every_file_names_its_target() {
        let ptx: Vec<&Image> = IMAGES.iter().filter(|image| image.form == Form::Ptx).collect();
        assert!(ptx.len() >= 10);
        for image in ptx {
            let target = format!(".target sm_{}{}", image.target, if image.only { "a" } else { "" });
            let text = String::from_utf8(image.unpacked().unwrap()).unwrap();
            assert!(text.contains(&target), "{} {}", image.source, image.target);
        }
    }

    /// The kernels that PTX defines.
    fn entries(ptx: &str) -> impl Iterator<Item = &str> {
        ptx.split(".entry ").skip(1).filter_map(|rest| rest.split(['(', '\n']).next())
    }

    #[test]
    fn machine_code_is_of_its_card_and_has_every_kernel_of_the_ptx() {
        let contains = |code: &[u8], what: &[u8]| code.windows(what.len()).any(|window| window == what);
        let mut cards = std::collections::BTreeSet::new();
        for image in IMAGES.iter().filter(|image| image.form == Form::MachineCode) {
            let code = image.unpacked().unwrap();
            assert_eq!(&code[..4], b"\x7fELF");
            // The card stands in the flags, which files of ABI 8 write one byte further on.
            let flags = u32::from_le_bytes(code[48..52].try_into().unwrap());
            let card = if code[8] >= 8 { flags >> 8 } else { flags } & 0xff;
            assert_eq!(card, image.target, "{} {}", image.source, image.target);
            let ptx = |ptx: &&Image| ptx.form == Form::Ptx && ptx.source == image.source;
            let best = IMAGES.iter().filter(ptx).filter(|ptx| ptx.target <= image.target).max_by_key(|ptx| ptx.target);
            let text = String::from_utf8(best.unwrap().unpacked().unwrap()).unwrap();
            for name in entries(&text) {
                let section = format!(".text.{name}\0");
                assert!(contains(&code, section.as_bytes()), "{} for {card} lacks {name}", image.source);
            }
            cards.insert(card);
        }
        assert_eq!(Vec::from_iter(cards), [80, 86, 89, 90, 100, 120]);
    }
}
