//! A strict profile of XML and its canonical form (Canonical XML 1.1, W3C 2008), as narrow as NVIDIA's manifests are.
//!
//! Decides: what tree a document is, and the bytes over which its digest is made. It refuses whatever could make two readers see two
//! documents: everything but printable ASCII, entities and character references, comments, processing instructions, document types,
//! CDATA, `xml:` attributes, attributes of any spelling of `Id`, two attributes of one name, undeclared prefixes. Within that profile
//! the canonical form is the inclusive one, for the whole document and for a part of it.

mod read;

pub(super) use read::parse;
use std::collections::BTreeMap;

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
        let many = format!("<a>{}</a>", "<b/>".repeat(read::MAX_ELEMENTS));
        assert_eq!(
            parse(many.as_bytes()).unwrap_err().why,
            "there are too many elements"
        );
    }
}
