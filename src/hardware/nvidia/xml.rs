//! A strict profile of XML and its canonical form (Canonical XML 1.1, W3C 2008), as narrow as NVIDIA's manifests are.
//!
//! Decides: what tree a document is, and the bytes over which its digest is made. It refuses whatever could make two readers see two
//! documents: everything but printable ASCII, entities and character references, comments, processing instructions, document types,
//! CDATA, `xml:` attributes, attributes of any spelling of `Id`, two attributes of one name, undeclared prefixes. Within that profile
//! the canonical form is the inclusive one, for the whole document and for a part of it.

use std::collections::BTreeMap;

/// The longest document, in bytes; real ones have some 25,000.
const MAX_DOCUMENT: usize = 1 << 20;
/// The deepest nesting; real ones have seven levels.
const MAX_DEPTH: usize = 16;
/// The most attributes and declarations of one element, and the most namespaces that hold in one; real ones have 13 and 6.
const MAX_ATTRIBUTES: usize = 32;
/// The most elements; real documents have 85.
const MAX_ELEMENTS: usize = 4_096;
/// Namespaces that no other prefix may be bound to (Namespaces in XML 1.0 §3).
const RESERVED: [&str; 2] = [
    "http://www.w3.org/XML/1998/namespace",
    "http://www.w3.org/2000/xmlns/",
];

/// Why a text is not a document of this profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {why}")]
pub struct XmlError {
    /// Where, in bytes from the start.
    pub at: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    /// As it is written, with its prefix.
    name: String,
    uri: String,
    value: String,
}

/// An element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// As it is written, with its prefix.
    name: String,
    uri: String,
    /// Prefix and namespace, as declared here.
    declared: BTreeMap<String, String>,
    attributes: Vec<Attribute>,
    children: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Element(Element),
    Text(String),
}

/// The part of a name after its prefix.
fn local(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, local)| local)
}

fn prefix(name: &str) -> &str {
    name.split_once(':').map_or("", |(prefix, _)| prefix)
}

impl Element {
    /// Whether it has this name in this namespace.
    pub(super) fn is(&self, uri: &str, name: &str) -> bool {
        self.uri == uri && local(&self.name) == name
    }

    /// An attribute by namespace (empty: none) and name.
    pub(super) fn attribute(&self, uri: &str, name: &str) -> Option<&str> {
        let found = self
            .attributes
            .iter()
            .find(|a| a.uri == uri && local(&a.name) == name)?;
        Some(&found.value)
    }

    /// Names of the attributes in a namespace.
    pub(super) fn attributes_in<'a>(&'a self, uri: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes
            .iter()
            .filter(move |a| a.uri == uri)
            .map(|a| local(&a.name))
    }

    /// The elements inside. `None` where text other than white space stands between them.
    pub(super) fn elements(&self) -> Option<Vec<&Self>> {
        let mut found = Vec::new();
        for child in &self.children {
            match child {
                Node::Element(e) => found.push(e),
                Node::Text(t) if t.trim().is_empty() => {}
                Node::Text(_) => return None,
            }
        }
        Some(found)
    }

    /// The text inside. `None` where elements stand in it.
    pub(super) fn text(&self) -> Option<&str> {
        match self.children.as_slice() {
            [] => Some(""),
            [Node::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The canonical form of this element, without the direct child `but`, where it stands under the declarations `inherited`.
    pub(super) fn canonical(&self, inherited: &BTreeMap<String, String>, but: Option<&Self>) -> Vec<u8> {
        let mut out = Vec::new();
        // The top of a part declares all that holds there (Canonical XML 1.1 §2.3, node-sets that omit ancestors).
        let mut scope = inherited.clone();
        scope.extend(self.declared.clone());
        self.write(&scope, &BTreeMap::new(), but, &mut out);
        out
    }

    /// The declarations that hold inside this element, if these hold around it.
    pub(super) fn scope(&self, around: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut scope = around.clone();
        scope.extend(self.declared.clone());
        scope
    }

    fn write(
        &self,
        scope: &BTreeMap<String, String>,
        rendered: &BTreeMap<String, String>,
        but: Option<&Self>,
        out: &mut Vec<u8>,
    ) {
        let mut put = |pieces: &[&str]| pieces.iter().for_each(|p| out.extend(p.as_bytes()));
        put(&["<", &self.name]);
        // Maps are sorted, and the default namespace's empty prefix comes first.
        for (prefix, uri) in scope.iter().filter(|(p, u)| rendered.get(*p) != Some(*u)) {
            if prefix.is_empty() {
                put(&[" xmlns=\"", uri, "\""]);
            } else {
                put(&[" xmlns:", prefix, "=\"", uri, "\""]);
            }
        }
        let mut attributes: Vec<_> = self.attributes.iter().collect();
        attributes.sort_by_key(|a| (a.uri.as_str(), local(&a.name)));
        for attribute in attributes {
            put(&[" ", &attribute.name, "=\"", &attribute.value, "\""]);
        }
        put(&[">"]);
        for child in &self.children {
            match child {
                Node::Text(text) => out.extend(text.as_bytes()),
                Node::Element(e) if but.is_some_and(|b| std::ptr::eq(b, e)) => {}
                Node::Element(e) => e.write(&e.scope(scope), scope, None, out),
            }
        }
        for piece in ["</", &self.name, ">"] {
            out.extend(piece.as_bytes());
        }
    }
}

/// The canonical form of a whole document (Canonical XML 1.1), where it is of the narrow profile that manifests are read in.
///
/// # Errors
/// [`XmlError`].
pub fn canonical(bytes: &[u8]) -> Result<Vec<u8>, XmlError> {
    Ok(parse(bytes)?.canonical(&BTreeMap::new(), None))
}

/// Reads a document.
///
/// # Errors
/// [`XmlError`].
pub(super) fn parse(bytes: &[u8]) -> Result<Element, XmlError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        String::from_utf8(super::canonical(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn declarations_and_attributes_are_sorted_and_empty_elements_opened() {
        let text = "<?xml version='1.0'?>\n<a xmlns:b=\"urn:b\" xmlns=\"urn:a\" z=\"1\" b:y=\"2\"  a=\"3\">\n <b:c xmlns:b=\"urn:b\"/>t</a >\n";
        let form = "<a xmlns=\"urn:a\" xmlns:b=\"urn:b\" a=\"3\" z=\"1\" b:y=\"2\">\n <b:c></b:c>t</a>";
        assert_eq!(canonical(text), form);
        assert_eq!(canonical(form), form, "the canonical form is its own");
    }

    #[test]
    fn a_declaration_is_passed_over_where_it_changes_nothing() {
        for declaration in [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
            "<?xml version='1.0' encoding='us-ascii' standalone='no' ?>\n",
        ] {
            assert_eq!(canonical(&format!("{declaration}<a/>")), "<a></a>");
        }
    }

    #[test]
    fn a_part_declares_what_it_inherits_and_a_signature_is_left_out() {
        let root = parse(b"<a xmlns:s=\"urn:s\"><s:g><s:i/></s:g> x</a>").unwrap();
        let [signature] = root
            .children
            .iter()
            .filter_map(|c| match c {
                Node::Element(e) => Some(e),
                Node::Text(_) => None,
            })
            .collect::<Vec<_>>()[..]
        else {
            panic!()
        };
        let none = BTreeMap::new();
        assert_eq!(
            root.canonical(&none, Some(signature)),
            b"<a xmlns:s=\"urn:s\"> x</a>"
        );
        let inner = signature.elements().unwrap()[0];
        assert_eq!(
            inner.canonical(&root.scope(&none), None),
            b"<s:i xmlns:s=\"urn:s\"></s:i>"
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            "<a>&amp;</a>",
            "<a b=\"&#65;\"/>",
            "<!DOCTYPE a><a/>",
            "<a><!-- c --></a>",
            "<a><![CDATA[x]]></a>",
            "<a><?p i?></a>",
            "<a xml:lang=\"en\"/>",
            "<a Id=\"x\"/>",
            "<a b=\"1\" b=\"2\"/>",
            "<a xmlns:p=\"urn:u\" xmlns:q=\"urn:u\" p:b=\"1\" q:b=\"2\"/>",
            "<p:a/>",
            "<a></b>",
            "<a/><b/>",
            "<a",
            "<a>",
            "<a b='1'/>",
            "<a\r/>",
            "<a b=\"\u{e9}\"/>",
            "<a xmlns=\"\"/>",
            "<a xmlns:xml=\"urn:u\"/>",
            "<a xmlns:p=\"relative\"/>",
            "<a xmlns:p=\"../a:b\"/>",
            "<a xmlns:p=\"urn:a b\"/>",
            "<a xmlns:p=\"http://www.w3.org/XML/1998/namespace\"/>",
            "<?xml version=\"1.0\" encoding=\"utf-7\"?><a/>",
            "<?xml version=\"1.1\"?><a/>",
            "<?xml version=\"1.0\" encoding=\"utf-8\" encoding=\"utf-7\"?><a/>",
            "<?xml-stylesheet href=\"x\"?><a/>",
            "x<a/>",
            "<a>]]></a>",
            "",
            "<a b=\"1\"c=\"2\"/>",
            "<a:b:c xmlns:a=\"urn:u\"/>",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = "<a>".repeat(40) + &"</a>".repeat(40);
        assert!(parse(deep.as_bytes()).is_err());
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        assert_eq!(
            parse(many.as_bytes()).unwrap_err().why,
            "there are too many elements"
        );
    }
}
