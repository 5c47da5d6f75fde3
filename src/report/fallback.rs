//! Characters that the project's fonts lack, as in names in Chinese, Japanese or Korean: a font of this system draws them,
//! where one has them. Without such a name no font of the system is looked at, so that every machine draws the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use ttf_parser::Face;

use super::picture::REGULAR;

/// Where systems keep their fonts.
const PLACES: [&str; 5] =
    ["/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts", "C:\\Windows\\Fonts"];
/// Fonts of a user, within the home folder.
const AT_HOME: [&str; 3] = [".local/share/fonts", ".fonts", "Library/Fonts"];
/// A font file is no larger than this, and no system has more of them.
const MOST_BYTES: u64 = 128 << 20;
const MOST_FILES: usize = 5000;

/// A font of this system.
#[derive(Clone)]
pub struct Fallback {
    /// The file.
    pub data: &'static [u8],
    /// Which of its fonts.
    pub index: u32,
}

/// The characters of `text` that the project's fonts lack; control characters are none.
pub fn missing(text: &str) -> BTreeSet<char> {
    static FACE: OnceLock<Option<Face<'static>>> = OnceLock::new();
    let face = FACE.get_or_init(|| Face::parse(REGULAR, 0).ok());
    let lacks = |c: &char| !c.is_control() && face.as_ref().is_some_and(|face| face.glyph_index(*c).is_none());
    text.chars().filter(lacks).collect()
}

/// What stands for a character that no font has.
pub fn by_number(c: char) -> String {
    format!("\\u{{{:x}}}", c as u32)
}

/// The font of this system that has most of `wanted`; `None` where none has any.
pub fn find(wanted: &BTreeSet<char>) -> Option<Fallback> {
    let home = std::env::home_dir();
    let at_home = home.iter().flat_map(|home| AT_HOME.map(|place| home.join(place)));
    find_in(wanted, PLACES.iter().map(PathBuf::from).chain(at_home))
}

fn find_in(wanted: &BTreeSet<char>, places: impl Iterator<Item = PathBuf>) -> Option<Fallback> {
    if wanted.is_empty() {
        return None;
    }
    let mut files = Vec::new();
    places.for_each(|place| font_files(&place, &mut files));
    let mut best: Option<(usize, Vec<u8>, u32)> = None;
    for path in files {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for index in 0..ttf_parser::fonts_in_collection(&bytes).unwrap_or(1) {
            let Ok(face) = Face::parse(&bytes, index) else { continue };
            let count = wanted.iter().filter(|c| face.glyph_index(**c).is_some()).count();
            if count > best.as_ref().map_or(0, |(most, ..)| *most) {
                best = Some((count, bytes.clone(), index));
            }
        }
        if best.as_ref().is_some_and(|(count, ..)| *count == wanted.len()) {
            break;
        }
    }
    // Fonts are used to the end of the program; there is one, and only where a report needs it.
    best.map(|(_, bytes, index)| Fallback { data: Box::leak(bytes.into_boxed_slice()), index })
}

/// Font files of a folder and those within, in the order of their names, upright and of usual weight first.
fn font_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let is_styled = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        ["bold", "italic", "oblique", "light", "thin", "mono", "black"].iter().any(|style| name.contains(style))
    };
    entries.sort_by_key(|path| (is_styled(path), path.clone()));
    for path in entries {
        if files.len() >= MOST_FILES {
            return;
        }
        // Links may lead round in circles.
        let Ok(found) = std::fs::symlink_metadata(&path) else { continue };
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
        if found.is_dir() {
            font_files(&path, files);
        } else if ["ttf", "otf", "ttc", "otc"].contains(&ending.as_str()) && found.len() <= MOST_BYTES {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_font_is_looked_for_only_for_what_is_missing() {
        assert!(missing("plain words, 12.3 ms ± 4 %, Größe\n").is_empty());
        let cjk = missing("model 中文-7b");
        assert_eq!(cjk.iter().collect::<String>(), "中文");
        assert_eq!(by_number('中'), "\\u{4e2d}");
        let folder = tempfile::tempdir().unwrap();
        assert!(find_in(&cjk, [folder.path().to_path_buf()].into_iter()).is_none(), "there is no font");
        std::fs::write(folder.path().join("broken.ttf"), "no font").unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::write(folder.path().join("in/plex.ttf"), REGULAR).unwrap();
        assert!(find_in(&cjk, [folder.path().to_path_buf()].into_iter()).is_none(), "none has them");
        let found = find_in(&BTreeSet::from(['a', '中']), [folder.path().to_path_buf()].into_iter()).unwrap();
        assert_eq!((found.data, found.index), (REGULAR, 0));
        assert!(find_in(&BTreeSet::new(), [folder.path().to_path_buf()].into_iter()).is_none());
    }
}
