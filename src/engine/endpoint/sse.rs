//! Server-sent events (WHATWG HTML, section 9.2), as far as the API uses them: the `data` of each event, with a bound on
//! how much is kept of a line that never ends.

/// The longest line: a chunk of an answer is some hundred bytes.
pub const MOST_OF_A_LINE: usize = 1 << 20;

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A line beyond [`MOST_OF_A_LINE`].
    TooLong,
    /// A line that is not UTF-8.
    BadUtf8,
}

/// Takes bytes as they come and gives the data of events as they end.
#[derive(Debug, Default)]
pub struct Events {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// Data lines of the event that has not ended yet.
    data: String,
    has_data: bool,
}

impl Events {
    /// Takes the next bytes and calls `take` with the data of each event that they end.
    pub fn push(&mut self, mut bytes: &[u8], mut take: impl FnMut(&str)) -> Result<(), Fault> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            // Most lines come whole: they are not copied.
            let (part, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.line.is_empty() {
                self.line_ended(part, &mut take)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(part);
                self.line_ended(&line, &mut take)?;
                line.clear();
                self.line = line;
            }
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > MOST_OF_A_LINE { Err(Fault::TooLong) } else { Ok(()) }
    }

    fn line_ended(&mut self, line: &[u8], take: &mut impl FnMut(&str)) -> Result<(), Fault> {
        if line.len() + self.data.len() > MOST_OF_A_LINE {
            return Err(Fault::TooLong);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                take(&self.data);
                self.data.clear();
            }
            return Ok(());
        }
        let text = std::str::from_utf8(line).map_err(|_| Fault::BadUtf8)?;
        // Comments, names and numbers of events say nothing here.
        let Some(value) = text.strip_prefix("data:") else { return Ok(()) };
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push('\n');
        }
        self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(parts: &[&[u8]]) -> Result<Vec<String>, Fault> {
        let mut events = Events::default();
        let mut taken = Vec::new();
        for part in parts {
            events.push(part, |data| taken.push(data.to_string()))?;
        }
        Ok(taken)
    }

    #[test]
    fn events_end_with_an_empty_line_however_they_are_cut() {
        assert_eq!(
            all(&[b"data: {\"a\":1}\n\nda", b"ta: x\r\n\r", b"\n: ping\n\nevent: e\ndata:y\ndata: z\n\n"]).unwrap(),
            ["{\"a\":1}", "x", "y\nz"]
        );
        assert_eq!(all(&[b"data: not ended\n"]).unwrap(), [] as [&str; 0]);
    }

    #[test]
    fn what_cannot_be_text_or_never_ends_is_a_fault() {
        assert_eq!(all(&[b"data: \xff\xfe\n\n"]), Err(Fault::BadUtf8));
        let long = vec![b'x'; MOST_OF_A_LINE / 2 + 1];
        assert_eq!(all(&[&long, &long]), Err(Fault::TooLong));
        let line: Vec<u8> = [b"data: ".as_slice(), &long, b"\n"].concat();
        assert_eq!(all(&[&line, &line]), Err(Fault::TooLong));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            let cut = cut.min(bytes.len());
            let whole = all(&[&bytes]);
            let parts = all(&[&bytes[..cut], &bytes[cut..]]);
            prop_assert_eq!(whole.is_ok(), parts.is_ok());
            if let (Ok(whole), Ok(parts)) = (whole, parts) {
                prop_assert_eq!(whole, parts);
            }
        }
    }
}
