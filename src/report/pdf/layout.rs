//! Pages as lists of what is on them, filled from the top, and the logical tree that a screen reader follows.

use super::text::{Metrics, Weight};
use crate::report::fallback::Fallback;
use resvg::usvg;
use std::sync::Arc;

/// A4 across, in points.
pub(crate) const PAGE: (f32, f32) = (841.89, 595.28);
const MARGIN: f32 = 36.0;
const TOP: f32 = 40.0;
const BOTTOM: f32 = 44.0;

/// Grey of text that explains.
pub(crate) const GREY: u8 = 90;

/// How a paragraph looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Style {
    /// The first sentence.
    Lead,
    /// Text.
    Body,
    /// Why something is not there.
    Missing,
    /// Remarks.
    Note,
}

impl Style {
    fn size(self) -> f32 {
        match self {
            Self::Lead => 12.0,
            Self::Body | Self::Missing => 9.5,
            Self::Note => 7.5,
        }
    }

    fn weight(self) -> Weight {
        if self == Self::Lead { Weight::SemiBold } else { Weight::Regular }
    }
}

/// What a part of the document is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// The whole.
    Document,
    /// A heading of a level.
    Heading(u16, String),
    /// A paragraph.
    Paragraph,
    /// A picture with its words.
    Figure(String),
    /// A table.
    Table,
    /// A row of a table.
    Row,
    /// The head of a column.
    Head,
    /// A cell.
    Cell,
}

/// A node of the logical tree: what it is, and the nodes within.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// What it is.
    pub kind: Kind,
    /// Those within, in reading order.
    pub children: Vec<usize>,
}

/// Something on a page.
pub(crate) enum Item {
    /// A line of text: left end, base line, size, weight, grey, the text, the node that it belongs to.
    Text {
        /// Left end of the base line.
        at: (f32, f32),
        /// Size in points.
        size: f32,
        /// Face.
        weight: Weight,
        /// Grey, 0 being black.
        grey: u8,
        /// The text.
        text: String,
        /// The node that it is of; what belongs to none is decoration.
        node: Option<usize>,
    },
    /// A filled rectangle, which is decoration.
    Fill {
        /// Left upper corner.
        at: (f32, f32),
        /// Width and height.
        size: (f32, f32),
        /// Grey.
        grey: u8,
    },
    /// A drawing.
    Picture {
        /// Left upper corner.
        at: (f32, f32),
        /// Points for each unit of the drawing.
        scale: f32,
        /// The drawing.
        tree: Arc<usvg::Tree>,
        /// The node that it is of.
        node: usize,
    },
}

/// A document that is being laid out.
pub(crate) struct Layout {
    /// The pages so far.
    pub pages: Vec<Vec<Item>>,
    /// The logical tree; the first is the document.
    pub nodes: Vec<Node>,
    /// Level, text, page and height of each heading.
    pub headings: Vec<(u16, String, usize, f32)>,
    /// Widths of text.
    pub metrics: Metrics,
    running_title: String,
    y: f32,
}

impl Layout {
    /// An empty document, with a font for what the project's lack.
    pub(crate) fn new(title: &str, fallback: Option<Fallback>) -> anyhow::Result<Self> {
        let mut metrics = Metrics::new(fallback)?;
        let running_title = metrics.drawable(title);
        let document = Node { kind: Kind::Document, children: Vec::new() };
        Ok(Self {
            pages: vec![Vec::new()],
            nodes: vec![document],
            headings: Vec::new(),
            metrics,
            running_title,
            y: TOP,
        })
    }

    /// Width between the margins.
    pub(crate) fn width(&self) -> f32 {
        PAGE.0 - 2.0 * MARGIN
    }

    /// The left margin.
    pub(crate) fn left(&self) -> f32 {
        MARGIN
    }

    /// Where the next thing begins.
    pub(crate) fn top(&self) -> f32 {
        self.y
    }

    /// Goes on from another height.
    pub(crate) fn move_to(&mut self, y: f32) {
        self.y = y;
    }

    /// The lowest that things may reach.
    pub(crate) fn bottom(&self) -> f32 {
        PAGE.1 - BOTTOM
    }

    /// Begins a page.
    pub(crate) fn new_page(&mut self) {
        self.pages.push(Vec::new());
        self.y = TOP;
    }

    /// Begins a page where there is no room for `height`.
    pub(crate) fn reserve(&mut self, height: f32) {
        if self.y + height > self.bottom() && self.y > TOP {
            self.new_page();
        }
    }

    /// Puts something on the page.
    pub(crate) fn put(&mut self, item: Item) {
        if let Some(page) = self.pages.last_mut() {
            page.push(item);
        }
    }

    /// A node within another.
    pub(crate) fn node(&mut self, parent: usize, kind: Kind) -> usize {
        self.nodes.push(Node { kind, children: Vec::new() });
        let index = self.nodes.len() - 1;
        self.nodes[parent].children.push(index);
        index
    }

    /// A node of the document.
    pub(crate) fn group(&mut self, kind: Kind) -> usize {
        self.node(0, kind)
    }

    /// A heading, kept together with what follows.
    pub(crate) fn heading(&mut self, level: u16, text: &str) {
        let size = match level {
            1 => 22.0,
            2 => 15.0,
            _ => 10.5,
        };
        let text = self.metrics.drawable(text);
        self.y += if level == 1 { 0.0 } else { size * 0.7 };
        self.reserve(size * 1.4 + 60.0);
        let page = self.pages.len() - 1;
        self.headings.push((level, text.clone(), page, self.y));
        let node = self.group(Kind::Heading(level, text.clone()));
        let width = self.width();
        self.lines(&text, (size, Weight::SemiBold, 0), MARGIN, width, Some(node));
        self.y += size * 0.25;
    }

    /// A paragraph over the whole width.
    pub(crate) fn paragraph(&mut self, text: &str, style: Style) {
        let width = self.width().min(if style == Style::Note { f32::INFINITY } else { 640.0 });
        self.text_at(text, style, MARGIN, width);
        self.y += 2.5;
    }

    /// A paragraph of some width.
    pub(crate) fn text_at(&mut self, text: &str, style: Style, left: f32, width: f32) {
        let grey = match style {
            Style::Note | Style::Missing => GREY,
            _ => 0,
        };
        let text = self.metrics.drawable(text);
        let node = self.group(Kind::Paragraph);
        self.lines(&text, (style.size(), style.weight(), grey), left, width, Some(node));
    }

    /// How high a paragraph is.
    pub(crate) fn height_of(&mut self, text: &str, style: Style, width: f32) -> f32 {
        let text = self.metrics.drawable(text);
        self.metrics.lines(&text, style.weight(), style.size(), width).len() as f32 * style.size() * 1.35
    }

    fn lines(
        &mut self,
        text: &str,
        (size, weight, grey): (f32, Weight, u8),
        left: f32,
        width: f32,
        node: Option<usize>,
    ) {
        for text in self.metrics.lines(text, weight, size, width) {
            self.reserve(size * 1.35);
            let at = (left, self.y + size);
            self.put(Item::Text { at, size, weight, grey, text, node });
            self.y += size * 1.35;
        }
    }

    /// A drawing on the page as it is.
    pub(crate) fn picture(&mut self, node: usize, tree: usvg::Tree, at: (f32, f32), scale: f32) {
        self.put(Item::Picture { at, scale, tree: Arc::new(tree), node });
    }

    /// Puts title and number on every page.
    pub(crate) fn number_pages(&mut self) {
        let count = self.pages.len();
        let y = PAGE.1 - 20.0;
        for (index, page) in self.pages.iter_mut().enumerate() {
            let number = format!("{} of {count}", index + 1);
            let width = self.metrics.width(&number, Weight::Regular, 7.5);
            let foot = [(MARGIN, self.running_title.clone()), (PAGE.0 - MARGIN - width, number)];
            page.extend(foot.map(|(x, text)| Item::Text {
                at: (x, y),
                size: 7.5,
                weight: Weight::Regular,
                grey: GREY,
                text,
                node: None,
            }));
        }
    }
}
