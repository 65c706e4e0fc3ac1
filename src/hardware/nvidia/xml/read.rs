//! Reads a document, and refuses whatever is not of the profile.

use super::{Attribute, Element, Node, XmlError, local, prefix};
use std::collections::BTreeMap;

/// The longest document, in bytes; real ones have some 25,000.
const MAX_DOCUMENT: usize = 1 << 20;
/// The deepest nesting; real ones have seven levels.
const MAX_DEPTH: usize = 16;
/// The most attributes and declarations of one element, and the most namespaces that hold in one; real ones have 13 and 6.
const MAX_ATTRIBUTES: usize = 32;
/// The most elements; real documents have 85.
pub(super) const MAX_ELEMENTS: usize = 4_096;
/// Namespaces that no other prefix may be bound to (Namespaces in XML 1.0 §3).
const RESERVED: [&str; 2] = [
    "http://www.w3.org/XML/1998/namespace",
    "http://www.w3.org/2000/xmlns/",
];

/// Reads a document.
///
/// # Errors
/// [`XmlError`].
pub(in super::super) fn parse(bytes: &[u8]) -> Result<Element, XmlError> {
    let wrong = |at, why| Err(XmlError { at, why });
    if bytes.len() > MAX_DOCUMENT {
        return wrong(MAX_DOCUMENT, "the document is too long");
    }
    if let Some(at) = bytes
        .iter()
        .position(|b| !(b.is_ascii_graphic() || matches!(b, b' ' | b'\n' | b'\t')))
    {
        return wrong(at, "a character other than printable ASCII");
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return wrong(0, "not ASCII");
    };
    let mut reader = Reader {
        text,
        at: 0,
        elements: 0,
    };
    if reader.eat("<?xml ") {
        let Some((declaration, _)) = reader.rest().split_once("?>") else {
            return reader.wrong("the XML declaration does not end");
        };
        if !is_plain(declaration) {
            return reader.wrong("an XML declaration other than one of version 1.0 in UTF-8");
        }
        reader.skip(declaration.len().saturating_add(2));
    }
    reader.space();
    let root = reader.element(&BTreeMap::new(), 0)?;
    reader.space();
    if reader.rest().is_empty() {
        Ok(root)
    } else {
        reader.wrong("something stands behind the document's element")
    }
}

/// Whether a declaration changes nothing. It is not digested, so it may say nothing that another reader could act on, such as another encoding.
fn is_plain(declaration: &str) -> bool {
    let written = declaration.replace('\'', "\"").to_ascii_lowercase();
    let parts: Vec<_> = written.split_ascii_whitespace().collect();
    let [version, rest @ ..] = parts.as_slice() else {
        return false;
    };
    let (encoding, alone): (Vec<&str>, Vec<&str>) = rest.iter().partition(|p| p.starts_with("encoding="));
    *version == "version=\"1.0\""
        && matches!(
            encoding.as_slice(),
            [] | ["encoding=\"utf-8\"" | "encoding=\"ascii\"" | "encoding=\"us-ascii\""]
        )
        && matches!(
            alone.as_slice(),
            [] | ["standalone=\"yes\"" | "standalone=\"no\""]
        )
}

/// Whether a namespace is an absolute URI, of the plain characters that manifests use.
fn is_absolute(uri: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | ':' | '/' | '#');
    uri.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric())
            && rest.chars().all(plain)
    })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    elements: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn wrong<T>(&self, why: &'static str) -> Result<T, XmlError> {
        Err(XmlError { at: self.at, why })
    }

    /// Passes over white space; whether there was any.
    fn space(&mut self) -> bool {
        let rest = self.rest();
        let spaces = rest.len().saturating_sub(rest.trim_start().len());
        self.skip(spaces);
        spaces > 0
    }

    fn eat(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.skip(what.len());
        }
        found
    }

    /// A name with at most one prefix.
    fn name(&mut self) -> Result<&'a str, XmlError> {
        let rest = self.rest();
        let length = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.')))
            .unwrap_or(rest.len());
        let name = rest.get(..length).unwrap_or_default();
        let begins = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !name.split(':').all(begins) || name.split(':').count() > 2 {
            return self.wrong("not a name");
        }
        self.skip(length);
        Ok(name)
    }

    /// A value in double quotes.
    fn quoted(&mut self) -> Result<&'a str, XmlError> {
        if !self.eat("\"") {
            return self.wrong("a value does not stand in double quotes");
        }
        let Some((value, _)) = self.rest().split_once('"') else {
            return self.wrong("a value does not end");
        };
        if value.contains(['&', '<', '>', '\n', '\t']) {
            return self.wrong("a value holds a reference, a bracket or a line break");
        }
        self.skip(value.len().saturating_add(1));
        Ok(value)
    }

    fn element(&mut self, around: &BTreeMap<String, String>, depth: usize) -> Result<Element, XmlError> {
        let start = self.at;
        if depth >= MAX_DEPTH {
            return self.wrong("elements are nested too deep");
        }
        self.elements = self.elements.saturating_add(1);
        if self.elements > MAX_ELEMENTS {
            return self.wrong("there are too many elements");
        }
        if !self.eat("<") {
            return self.wrong("an element is expected");
        }
        let name = self.name()?;
        let mut declared = BTreeMap::new();
        let mut written: Vec<(&str, &str)> = Vec::new();
        let closed = loop {
            let spaced = self.space();
            if self.eat("/>") {
                break true;
            }
            if self.eat(">") {
                break false;
            }
            if !spaced || written.len().saturating_add(declared.len()) >= MAX_ATTRIBUTES {
                return self.wrong("too many attributes, or none where one is expected");
            }
            let attribute = self.name()?;
            if !self.eat("=") {
                return self.wrong("an attribute has no value");
            }
            let value = self.quoted()?;
            let bound = match attribute.split_once(':') {
                None if attribute == "xmlns" => Some(""),
                Some(("xmlns", bound)) => Some(bound),
                Some(("xml", _)) => return self.wrong("an attribute of the xml namespace"),
                _ => None,
            };
            match bound {
                Some(bound) => {
                    // One that is not absolute has no canonical form (Canonical XML 1.1 §1.3).
                    let refused =
                        bound.starts_with("xml") || !is_absolute(value) || RESERVED.contains(&value);
                    if refused || declared.insert(bound.to_owned(), value.to_owned()).is_some() {
                        return self.wrong("a namespace is declared twice, taken back, relative or reserved");
                    }
                }
                None => written.push((attribute, value)),
            }
        };
        let mut scope = around.clone();
        scope.extend(declared.clone());
        let wrong = |why| XmlError { at: start, why };
        if scope.len() > MAX_ATTRIBUTES {
            return Err(wrong("too many namespaces"));
        }
        let namespace = |prefix: &str| scope.get(prefix).cloned();
        let mut element = Element {
            uri: match prefix(name) {
                "" => namespace("").unwrap_or_default(),
                bound => namespace(bound).ok_or_else(|| wrong("an undeclared prefix"))?,
            },
            name: name.to_owned(),
            declared,
            attributes: Vec::new(),
            children: Vec::new(),
        };
        for (name, value) in written {
            let uri = match prefix(name) {
                "" => String::new(),
                bound => namespace(bound).ok_or_else(|| wrong("an undeclared prefix"))?,
            };
            if local(name).eq_ignore_ascii_case("id") {
                return Err(wrong("an attribute that could name an element for a signature"));
            }
            if element.attribute(&uri, local(name)).is_some() {
                return Err(wrong("an attribute stands there twice"));
            }
            element.attributes.push(Attribute {
                name: name.to_owned(),
                uri,
                value: value.to_owned(),
            });
        }
        if !closed {
            self.content(&mut element, &scope, depth)?;
        }
        Ok(element)
    }

    fn content(
        &mut self,
        element: &mut Element,
        scope: &BTreeMap<String, String>,
        depth: usize,
    ) -> Result<(), XmlError> {
        loop {
            let rest = self.rest();
            let Some((text, _)) = rest.split_once('<') else {
                return self.wrong("an element does not end");
            };
            if text.contains(['&', '>']) {
                return self.wrong("a reference or a bracket in a text");
            }
            if !text.is_empty() {
                element.children.push(Node::Text(text.to_owned()));
                self.skip(text.len());
            }
            if self.eat("</") {
                if self.name()? != element.name {
                    return self.wrong("an element ends under another name");
                }
                self.space();
                return if self.eat(">") {
                    Ok(())
                } else {
                    self.wrong("an element does not end")
                };
            }
            if self.rest().starts_with("<!") || self.rest().starts_with("<?") {
                return self.wrong("a comment, a document type, CDATA or a processing instruction");
            }
            let child = self.element(scope, depth.saturating_add(1))?;
            element.children.push(Node::Element(child));
        }
    }
}
