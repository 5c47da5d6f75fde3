//! A workbook as a reader's spreadsheet program sees it: cells, names, and formulae that are computed anew. Of the language
//! of formulae it knows what the workbook uses.

use std::collections::HashMap;
use std::io::Read;

/// A workbook.
pub struct Workbook {
    cells: HashMap<(String, String), Cell>,
    names: HashMap<String, (String, String)>,
}

#[derive(Debug, Clone)]
struct Cell {
    formula: Option<String>,
    value: String,
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let from = text.find(start)? + start.len();
    Some(&text[from..from + text[from..].find(end)?])
}

impl Workbook {
    /// Reads the bytes of a file.
    pub fn read(bytes: &[u8]) -> Self {
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        let mut part = |name: &str| {
            let mut text = String::new();
            archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let book = part("xl/workbook.xml");
        let strings: Vec<String> = part("xl/sharedStrings.xml")
            .split("<si>")
            .skip(1)
            .map(|item| item.split("<t").skip(1).filter_map(|t| between(t, ">", "</t>")).map(unescaped).collect())
            .collect();
        let mut cells = HashMap::new();
        for (index, sheet) in book.split("<sheet ").skip(1).enumerate() {
            let name = unescaped(between(sheet, "name=\"", "\"").unwrap());
            for cell in part(&format!("xl/worksheets/sheet{}.xml", index + 1)).split("<c ").skip(1) {
                let cell = cell.split("</c>").next().unwrap();
                let place = between(cell, "r=\"", "\"").unwrap().to_string();
                let value = between(cell, "<v>", "</v>").unwrap_or("");
                let value = if cell.split('>').next().unwrap().contains("t=\"s\"") {
                    strings[value.parse::<usize>().unwrap()].clone()
                } else {
                    unescaped(value)
                };
                cells.insert(
                    (name.clone(), place),
                    Cell { formula: between(cell, "<f>", "</f>").map(unescaped), value },
                );
            }
        }
        let names = book
            .split("<definedName name=\"")
            .skip(1)
            .filter_map(|part| {
                let name = part.split('"').next()?.to_string();
                let (sheet, place) = between(part, ">", "</definedName>")?.split_once('!')?;
                Some((name, (sheet.to_string(), place.replace('$', ""))))
            })
            .collect();
        Self { cells, names }
    }

    /// The text or number of a cell as the file has it.
    pub fn stored(&self, sheet: &str, place: &str) -> Option<&str> {
        self.cells.get(&(sheet.to_string(), place.to_string())).map(|cell| cell.value.as_str())
    }

    /// Whether a cell is computed.
    pub fn is_formula(&self, sheet: &str, place: &str) -> bool {
        self.cells.get(&(sheet.to_string(), place.to_string())).is_some_and(|cell| cell.formula.is_some())
    }

    /// Every text of the workbook's cells that are not computed.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.cells.values().filter(|cell| cell.formula.is_none()).map(|cell| cell.value.as_str())
    }

    /// Fills in the cell that a name is of.
    pub fn set_name(&mut self, name: &str, value: f64) {
        let place = self.names[name].clone();
        self.set(&place.0, &place.1, value);
    }

    /// Fills in a cell.
    pub fn set(&mut self, sheet: &str, place: &str, value: f64) {
        let cell = Cell { formula: None, value: value.to_string() };
        self.cells.insert((sheet.to_string(), place.to_string()), cell);
    }

    /// The number of a cell, computed anew where it is a formula.
    pub fn number(&self, sheet: &str, place: &str) -> f64 {
        let cell = &self.cells[&(sheet.to_string(), place.to_string())];
        match &cell.formula {
            None => cell.value.parse().unwrap_or_else(|_| panic!("{sheet}!{place}: {}", cell.value)),
            Some(formula) => {
                let mut parser = Parser { book: self, sheet, rest: formula };
                let value = parser.sum();
                assert!(parser.rest.is_empty(), "{formula}: left over `{}`", parser.rest);
                value
            }
        }
    }
}

struct Parser<'a> {
    book: &'a Workbook,
    sheet: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn sum(&mut self) -> f64 {
        let mut value = self.product();
        loop {
            if self.eat("+") {
                value += self.product();
            } else if self.eat("-") {
                value -= self.product();
            } else if self.eat(">") {
                value = f64::from(u8::from(value > self.product()));
            } else {
                return value;
            }
        }
    }

    fn product(&mut self) -> f64 {
        let mut value = self.atom();
        loop {
            if self.eat("*") {
                value *= self.atom();
            } else if self.eat("/") {
                value /= self.atom();
            } else {
                return value;
            }
        }
    }

    fn atom(&mut self) -> f64 {
        if self.eat("(") {
            let value = self.sum();
            assert!(self.eat(")"), "`{}`", self.rest);
            return value;
        }
        let word_end = self.rest.find(|c: char| !(c.is_alphanumeric() || "_.$".contains(c))).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(word_end);
        self.rest = rest;
        if let Ok(number) = word.parse() {
            return number;
        }
        if self.eat("(") {
            let mut arguments = vec![self.sum()];
            while self.eat(",") {
                arguments.push(self.sum());
            }
            assert!(self.eat(")"), "`{}`", self.rest);
            return function(word, &arguments);
        }
        match self.book.names.get(word) {
            Some((sheet, place)) => self.book.number(sheet, place),
            None => self.book.number(self.sheet, &word.replace('$', "")),
        }
    }
}

fn function(name: &str, arguments: &[f64]) -> f64 {
    match (name, arguments) {
        ("IF", [condition, yes, no]) => {
            if *condition != 0.0 {
                *yes
            } else {
                *no
            }
        }
        ("MAX", all) => all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ("MIN", all) => all.iter().copied().fold(f64::INFINITY, f64::min),
        ("ROUNDUP", [value, places]) if *places == 0.0 => value.abs().ceil() * value.signum(),
        _ => panic!("the workbook uses {name}, which this does not know"),
    }
}
