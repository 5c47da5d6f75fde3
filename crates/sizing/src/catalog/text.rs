//! Names in price lists are shown on terminals and opened in spreadsheets: what such a place would act on is refused where
//! it is read.

/// A character that a terminal acts on, or that changes the order in which others are shown.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What is wrong with a name, in words that follow it.
pub fn fault(name: &str) -> Option<&'static str> {
    if name.chars().any(is_control) {
        return Some("has a control character in it");
    }
    // A minus may begin a number; a name that a spreadsheet would compute is none.
    name.starts_with(['=', '+', '@', '-']).then_some("would be a formula in a spreadsheet")
}

/// A text as it can be put into a message: control characters by their codes, and not longer than a line.
pub fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let plain: String = text
        .chars()
        .take(MOST)
        .map(|c| if is_control(c) { c.escape_unicode().to_string() } else { c.to_string() })
        .collect();
    if text.chars().count() > MOST { format!("{plain}...") } else { plain }
}

/// On which line of a text its rows begin. The reader of rows counts empty lines to the row below them.
pub struct LineCounter<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> LineCounter<'a> {
    /// For the rows of a text, asked for in their order.
    pub fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, line: 1 }
    }

    /// The line that a row begins on, from 1.
    pub fn line_of(&mut self, record: &csv::StringRecord) -> usize {
        let start = record.position().map_or(0, |p| p.byte() as usize).min(self.text.len());
        let empty = self.text[start..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let start = start + empty;
        if start > self.at {
            self.line += self.text[self.at..start].iter().filter(|byte| **byte == b'\n').count();
            self.at = start;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_only_shown_is_found() {
        for bad in ["\u{1b}[31mred", "a\nb", "a\tb", "\u{9b}2J", "a\u{202e}b", "=cmd|calc!A1", "@SUM(1)", "+1", "-1+2"]
        {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
        for good in ["g6.xlarge", "München-L4", "<script>", "pod:A40 (secure)", "機種"] {
            assert_eq!(fault(good), None, "{good}");
        }
        assert_eq!(shown("\u{1b}[31m"), "\\u{1b}[31m");
        assert_eq!(shown(&"x".repeat(100)).len(), 63);
    }
}
