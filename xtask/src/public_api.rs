//! Lists of public items, read from the pages that rustdoc writes: stable Rust has no other form of them.

use std::fs;

use regex::{Captures, Regex};

use crate::workspace::{Result, Workspace};

/// Returns the public items of the crate `package`: declarations, methods, and implemented traits.
pub(crate) fn list(workspace: &Workspace, package: &str) -> Result<String> {
    build(workspace)?;
    let folder = workspace.target.join("doc").join(package.replace('-', "_"));
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut text = format!(
        "# Public items of `{package}`, written by `cargo xtask generate` from its documentation. A change here is a change for users.\n"
    );
    for reexport in find(&read("index.html")?, r#"id="reexport\.[^"]*"[^>]*>(.*?)</(?:div|dt)>"#) {
        text.push_str(&format!("{reexport}\n"));
    }
    let mut pages: Vec<String> = find(&read("all.html")?, r##"<li><a href="([^"#]+)""##);
    pages.sort();
    for page in pages {
        text.push_str(&item(&page, &read(&page)?));
    }
    Ok(text)
}

/// Builds the documents of all crates, as the step "docs" of CI does.
fn build(workspace: &Workspace) -> Result<()> {
    let mut command = workspace.cargo(&["doc", "--locked", "--no-deps", "--workspace", "--quiet"]);
    let status = command.env("RUSTDOCFLAGS", "-D warnings").status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err("cargo doc failed".to_owned()),
        Err(error) => Err(format!("cargo doc does not start: {error}")),
    }
}

/// The declaration on a page, a line for each method, and one with the implemented traits.
fn item(page: &str, html: &str) -> String {
    // The traits that every type has follow at the end, and are left out.
    let own = html.split(r#"id="synthetic-implementations""#).next().unwrap_or_default();
    let (inherent, traits) = own.split_once(r#"id="trait-implementations""#).unwrap_or((own, ""));
    let module =
        page.rsplit_once('/').map_or(String::new(), |(module, _)| format!("{}: ", module.replace('/', "::")));
    let name = page.rsplit('.').nth(1).unwrap_or_default();
    let mut text = String::new();
    for declaration in find(inherent, r#"<pre class="rust item-decl"><code>(.*?)</code></pre>"#) {
        text.push_str(&format!("{module}{declaration}\n"));
    }
    let method = r#"<section id="(?:method|associatedconstant)[^>]*>.*?<h4 class="code-header">(.*?)</h4>"#;
    for method in find(inherent, method) {
        text.push_str(&format!("    {method}\n"));
    }
    let traits = find(traits, r#"<section id="impl-[^>]*>.*?<h3 class="code-header">impl(.*?)</h3>"#);
    let own = traits
        .iter()
        .map(|implemented| implemented.strip_suffix(&format!(" for {name}")).unwrap_or(implemented));
    let mut own: Vec<&str> = own.filter(|implemented| *implemented != "StructuralPartialEq").collect();
    own.sort_unstable();
    if !own.is_empty() {
        text.push_str(&format!("    impl {}\n", own.join(", ")));
    }
    text
}

/// Returns the text of each match of `pattern`, without tags, on one line.
fn find(html: &str, pattern: &str) -> Vec<String> {
    let pattern = Regex::new(&format!("(?s){pattern}")).expect("the pattern is valid");
    pattern.captures_iter(html).map(|found: Captures<'_>| plain(&found[1])).collect()
}

fn plain(html: &str) -> String {
    // A summary folds a long list; it is no part of the declaration.
    let tags = Regex::new(r"(?s)<summary.*?</summary>|<[^>]*>").expect("the pattern is valid");
    let text = tags.replace_all(html, "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let text = text.replace("&nbsp;", " ").replace("&#39;", "'").replace("&quot;", "\"");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::item;

    #[test]
    fn a_page_is_its_declaration_with_methods_and_traits() {
        let html = r#"<pre class="rust item-decl"><code>pub struct <a>A</a>&lt;T&gt; {
            <span>/* private fields */</span> }</code></pre>
            <section id="method.b" class="method"><a>Source</a><h4 class="code-header">pub fn b(&amp;self)</h4></section>
            <h2 id="trait-implementations"></h2>
            <section id="impl-Clone-for-A" class="impl"><h3 class="code-header">impl <a>Clone</a> for A</h3></section>
            <section id="impl-From-for-B" class="impl"><h3 class="code-header">impl From&lt;A&gt; for B</h3></section>
            <section id="method.clone" class="method trait-impl"><h4 class="code-header">fn clone(&amp;self)</h4></section>
            <h2 id="synthetic-implementations"></h2>
            <section id="impl-Send-for-A" class="impl"><h3 class="code-header">impl Send for A</h3></section>"#;
        let expected = "log: pub struct A<T> { /* private fields */ }\n    pub fn b(&self)\n    impl Clone, From<A> for B\n";
        assert_eq!(item("log/struct.A.html", html), expected);
    }
}
