//! Laid-out pages become a file.

use super::layout::{Item, Kind, Layout, PAGE};
use super::text::{Metrics, Weight};
use crate::report::picture::{REGULAR, SEMIBOLD};
use jiff::civil::Date;
use krilla::color::luma;
use krilla::destination::XyzDestination;
use krilla::geom::{PathBuilder, Point, Rect, Size, Transform};
use krilla::metadata::{DateTime, Metadata};
use krilla::num::NormalizedF32;
use krilla::outline::{Outline, OutlineNode};
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::surface::Surface;
use krilla::tagging::{
    Artifact, ArtifactType, ContentTag, Identifier, SpanTag, TableHeaderScope, Tag, TagGroup, TagTree,
};
use krilla::text::{Font, TextDirection};
use krilla::{Document, SerializeSettings};
use krilla_svg::{SurfaceExt, SvgSettings};
use std::num::NonZeroU16;

struct Fonts {
    regular: Font,
    semibold: Font,
    /// For what they lack.
    other: Option<Font>,
}

/// The bytes of the file.
pub(crate) fn file(mut layout: Layout, title: &str, today: Date) -> anyhow::Result<Vec<u8>> {
    layout.number_pages();
    let font =
        |bytes: &'static [u8]| Font::new(bytes.into(), 0).ok_or_else(|| anyhow::anyhow!("a font cannot be read"));
    let other = layout.metrics.fallback().and_then(|other| Font::new(other.data.into(), other.index));
    let fonts = Fonts { regular: font(REGULAR)?, semibold: font(SEMIBOLD)?, other };
    let mut document = Document::new_with(SerializeSettings { enable_tagging: true, ..SerializeSettings::default() });
    let mut marks: Vec<Vec<Identifier>> = layout.nodes.iter().map(|_| Vec::new()).collect();
    for items in &layout.pages {
        let settings = PageSettings::from_wh(PAGE.0, PAGE.1).ok_or_else(|| anyhow::anyhow!("no page of that size"))?;
        let mut page = document.start_page_with(settings);
        let mut surface = page.surface();
        for item in items {
            paint(&mut surface, item, (&fonts, &layout.metrics), &mut marks);
        }
        surface.finish();
        page.finish();
    }
    let mut tree = TagTree::new();
    for child in &layout.nodes[0].children {
        if let Some(group) = group(&layout, *child, &mut marks) {
            tree.push(group);
        }
    }
    document.set_tag_tree(tree);
    document.set_outline(outline(&layout));
    let date = DateTime::new(today.year().max(0) as u16).month(today.month() as u8).day(today.day() as u8);
    let metadata = Metadata::new().title(title.to_string()).language("en".to_string()).creation_date(date);
    document.set_metadata(metadata.creator(format!("sizewell {}", env!("CARGO_PKG_VERSION"))));
    document.finish().map_err(|e| anyhow::anyhow!("the PDF cannot be made: {e:?}"))
}

fn fill(grey: u8) -> Option<Fill> {
    Some(Fill { paint: luma::Color::new(grey).into(), opacity: NormalizedF32::ONE, rule: FillRule::default() })
}

fn paint(surface: &mut Surface<'_>, item: &Item, (fonts, metrics): (&Fonts, &Metrics), marks: &mut [Vec<Identifier>]) {
    let decoration = ContentTag::Artifact(Artifact::with_kind(ArtifactType::Layout));
    match item {
        Item::Text { at, size, weight, grey, text, node } => {
            let tag = match node {
                Some(_) => ContentTag::Span(SpanTag::empty()),
                None => ContentTag::Artifact(Artifact::with_kind(ArtifactType::Footer)),
            };
            let mark = surface.start_tagged(tag);
            surface.set_fill(fill(*grey));
            let font = if *weight == Weight::Regular { &fonts.regular } else { &fonts.semibold };
            for (left, is_other, part) in metrics.runs(text, *weight, *size) {
                let font = fonts.other.as_ref().filter(|_| is_other).unwrap_or(font);
                let at = Point::from_xy(at.0 + left, at.1);
                surface.draw_text(at, font.clone(), *size, part, false, TextDirection::LeftToRight);
            }
            surface.end_tagged();
            if let Some(node) = node {
                marks[*node].push(mark);
            }
        }
        Item::Fill { at, size, grey } => {
            let Some(rectangle) = Rect::from_xywh(at.0, at.1, size.0, size.1) else { return };
            surface.start_tagged(decoration);
            surface.set_fill(fill(*grey));
            let mut path = PathBuilder::new();
            path.push_rect(rectangle);
            if let Some(path) = path.finish() {
                surface.draw_path(&path);
            }
            surface.end_tagged();
        }
        Item::Picture { at, scale, tree, node } => {
            let Some(size) = Size::from_wh(tree.size().width() * scale, tree.size().height() * scale) else { return };
            let mark = surface.start_tagged(ContentTag::Other);
            surface.push_transform(&Transform::from_translate(at.0, at.1));
            surface.draw_svg(tree, size, SvgSettings::default());
            surface.pop();
            surface.end_tagged();
            marks[*node].push(mark);
        }
    }
}

/// The tags of a node; `None` where nothing of it was drawn.
fn group(layout: &Layout, index: usize, marks: &mut [Vec<Identifier>]) -> Option<TagGroup> {
    let node = &layout.nodes[index];
    let mut group = match &node.kind {
        Kind::Document | Kind::Paragraph => TagGroup::new(Tag::P),
        Kind::Heading(level, title) => {
            TagGroup::new(Tag::Hn(NonZeroU16::new(*level).unwrap_or(NonZeroU16::MIN), Some(title.clone())))
        }
        Kind::Figure(words) => TagGroup::new(Tag::Figure(Some(words.clone()))),
        Kind::Table => TagGroup::new(Tag::Table),
        Kind::Row => TagGroup::new(Tag::TR),
        Kind::Head => TagGroup::new(Tag::TH(TableHeaderScope::Column)),
        Kind::Cell => TagGroup::new(Tag::TD),
    };
    let mut any = false;
    for mark in std::mem::take(&mut marks[index]) {
        group.push(mark);
        any = true;
    }
    for child in &node.children {
        if let Some(child) = self::group(layout, *child, marks) {
            group.push(child);
            any = true;
        }
    }
    any.then_some(group)
}

/// Sections, with their tables below them.
fn outline(layout: &Layout) -> Outline {
    let mut outline = Outline::new();
    let mut section: Option<OutlineNode> = None;
    for (level, text, page, y) in &layout.headings {
        let node = OutlineNode::new(text.clone(), XyzDestination::new(*page, Point::from_xy(0.0, *y)));
        match (level, section.as_mut()) {
            (3.., Some(section)) => section.push_child(node),
            _ => {
                if let Some(done) = section.replace(node) {
                    outline.push_child(done);
                }
            }
        }
    }
    if let Some(last) = section {
        outline.push_child(last);
    }
    outline
}
