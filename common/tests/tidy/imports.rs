//! Reads from the source which file of the product uses which other one.
//!
//! A file uses the file that defines what it names: a name that a `mod.rs` merely passes on belongs
//! to the file behind it, so a folder's front may pass on what its children need of each other.
//! Declaring a module is no use of it, and neither is importing one: the paths through it are.
//!
//! What tests alone compile is left out, and so are macros that are exported at the crate's root:
//! they are visible everywhere without an import, and expand to absolute paths.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A product file as it was parsed.
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    /// Where it stands: the crate's folder, then its modules.
    module: Module,
    syntax: syn::File,
}

/// The crate's folder, then the names of its modules.
type Module = Vec<String>;

/// What a name means in a module.
#[derive(Clone)]
enum Meaning {
    /// It is defined in this file.
    Here(usize),
    /// It is a module.
    Module(Module),
    /// It comes from there.
    From(Vec<String>),
}

/// All files of the product, and what their names mean.
pub struct Product {
    /// In the order of their paths.
    pub files: Vec<File>,
    names: BTreeMap<Module, BTreeMap<String, Vec<Meaning>>>,
    globs: BTreeMap<Module, Vec<Vec<String>>>,
}

/// Who uses whom, with one path that says so.
pub type Uses = BTreeMap<usize, BTreeMap<usize, String>>;

impl Product {
    /// From paths and texts. Files that only tests compile are left out.
    pub fn read<'a>(sources: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut files: Vec<File> = sources.into_iter().filter_map(|(path, text)| parse(path, text)).collect();
        let of_tests: Vec<Module> = files.iter().flat_map(modules_of_tests).collect();
        files.retain(|file| !of_tests.iter().any(|module| file.module.starts_with(module)));
        let mut product = Self { files: Vec::new(), names: BTreeMap::new(), globs: BTreeMap::new() };
        for (at, file) in files.iter().enumerate() {
            product.names.entry(file.module.clone()).or_default();
            product.learn(at, &file.module, &file.syntax.items);
        }
        product.files = files;
        product
    }

    /// Remembers what the names of a module mean.
    fn learn(&mut self, at: usize, module: &Module, items: &[syn::Item]) {
        for item in items.iter().filter(|item| !is_of_tests(attributes(item))) {
            match item {
                syn::Item::Use(import) => self.learn_use(module, &import.tree),
                syn::Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let path = [module.as_slice(), std::slice::from_ref(&name)].concat();
                    self.mean(module, name, Meaning::Module(path.clone()));
                    if let Some((_, items)) = &inner.content {
                        self.names.entry(path.clone()).or_default();
                        self.learn(at, &path, items);
                    }
                }
                item => {
                    if let Some(name) = name_of(item) {
                        self.mean(module, name, Meaning::Here(at));
                    }
                    let mut inside = Imports::default();
                    inside.visit_item(item);
                    inside.0.iter().for_each(|tree| self.learn_use(module, tree));
                }
            }
        }
    }

    fn learn_use(&mut self, module: &Module, tree: &syn::UseTree) {
        for Leaf { path, name } in leaves(tree) {
            match name {
                Some(name) if path != [name.as_str()] => self.mean(module, name, Meaning::From(path)),
                Some(_) => {}
                None => self.globs.entry(module.clone()).or_default().push(path),
            }
        }
    }

    fn mean(&mut self, module: &Module, name: String, meaning: Meaning) {
        self.names.entry(module.clone()).or_default().entry(name).or_default().push(meaning);
    }

    /// The file that defines what this path names, read in that module. None: a module, something of
    /// another crate, or something local.
    fn defines(&self, module: &Module, path: &[String], steps: usize) -> Option<usize> {
        // Two globs may pass each other on.
        let steps = steps.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.defines_below(&module[..1].to_vec(), rest, steps),
            "self" => self.defines_below(module, rest, steps),
            "super" => self.defines_below(&module[..module.len() - 1].to_vec(), rest, steps),
            _ => self.defines_below(module, path, steps),
        }
    }

    fn defines_below(&self, module: &Module, path: &[String], steps: usize) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        if first == "super" {
            return self.defines(module, path, steps);
        }
        let meanings = self.names.get(module)?.get(first).map(Vec::as_slice).unwrap_or_default();
        // A module and a function may share their name: only a module goes on.
        let ways = meanings.iter().filter_map(|meaning| match meaning {
            Meaning::Module(inner) => self.defines_below(inner, rest, steps),
            Meaning::From(there) => self.defines(module, &[there, rest].concat(), steps),
            Meaning::Here(at) => Some(*at),
        });
        let by_glob = || {
            let globs = self.globs.get(module)?.iter().filter(|_| meanings.is_empty());
            globs.filter_map(|glob| self.defines(module, &[glob, path].concat(), steps)).next()
        };
        ways.min_by_key(|at| self.files_of(module) == Some(*at)).or_else(by_glob)
    }

    fn files_of(&self, module: &Module) -> Option<usize> {
        self.files.iter().position(|file| &file.module == module)
    }

    /// Who uses whom.
    pub fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for (at, file) in self.files.iter().enumerate() {
            let mut paths = Paths { module: file.module.clone(), found: BTreeSet::new() };
            paths.visit_file(&file.syntax);
            let mine = uses.entry(at).or_default();
            for (module, path) in paths.found {
                if let Some(other) = self.defines(&module, &path, 64).filter(|other| *other != at) {
                    let (path, known) = (path.join("::"), mine.entry(other).or_default());
                    // The longest says most.
                    if path.len() > known.len() {
                        *known = path;
                    }
                }
            }
        }
        uses
    }

    /// Names of types that more than their own file may see, with the file of each.
    pub fn visible_types(&self) -> impl Iterator<Item = (String, &str)> {
        self.files.iter().flat_map(|file| {
            let mut names = Vec::new();
            visible_types(&file.syntax.items, &mut names);
            names.into_iter().map(|name| (name, file.path.as_str()))
        })
    }

    /// Files that use each other in a circle, one line for each circle's every use.
    pub fn circles(&self) -> Vec<String> {
        let uses = self.uses();
        let reach: BTreeMap<usize, BTreeSet<usize>> =
            uses.keys().map(|at| (*at, reach(&uses, *at))).collect();
        let mut found = Vec::new();
        for (at, others) in &uses {
            for (other, path) in others.iter().filter(|(other, _)| reach[other].contains(at)) {
                found.push(format!("{} uses {} ({path})", self.files[*at].path, self.files[*other].path));
            }
        }
        found
    }
}

fn reach(uses: &Uses, from: usize) -> BTreeSet<usize> {
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![from]);
    while let Some(at) = ahead.pop() {
        ahead.extend(uses[&at].keys().filter(|other| seen.insert(**other)));
    }
    seen
}

fn parse(path: &str, text: &str) -> Option<File> {
    let (folder, inside) = match path.strip_prefix("src/") {
        Some(inside) => ("", inside),
        None => path.split_once("/src/")?,
    };
    // The library's modules are those of the program beside it, which nothing can import.
    if inside == "main.rs" && !folder.is_empty() {
        return None;
    }
    let inside = inside.trim_end_matches(".rs");
    let mut module: Module = std::iter::once(folder).chain(inside.split('/')).map(str::to_owned).collect();
    if matches!(inside, "lib" | "main") || inside.ends_with("/mod") {
        module.pop();
    }
    let syntax = syn::parse_file(text).unwrap_or_else(|err| panic!("{path} cannot be read: {err}"));
    Some(File { path: path.to_owned(), module, syntax })
}

fn modules_of_tests(file: &File) -> Vec<Module> {
    let modules = file.syntax.items.iter().filter_map(|item| match item {
        syn::Item::Mod(inner) if is_of_tests(&inner.attrs) => Some(inner.ident.to_string()),
        _ => None,
    });
    modules.map(|name| [file.module.as_slice(), &[name]].concat()).collect()
}

fn is_of_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|one| {
        let is_cfg = one.path().is_ident("cfg");
        is_cfg && one.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name_of(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        syn::Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

fn visible_types(items: &[syn::Item], out: &mut Vec<String>) {
    for item in items.iter().filter(|item| !is_of_tests(attributes(item))) {
        let (sight, name) = match item {
            syn::Item::Enum(item) => (&item.vis, &item.ident),
            syn::Item::Struct(item) => (&item.vis, &item.ident),
            syn::Item::Trait(item) => (&item.vis, &item.ident),
            syn::Item::Type(item) => (&item.vis, &item.ident),
            syn::Item::Union(item) => (&item.vis, &item.ident),
            syn::Item::Mod(syn::ItemMod { content: Some((_, items)), .. }) => {
                visible_types(items, out);
                continue;
            }
            _ => continue,
        };
        if !matches!(sight, syn::Visibility::Inherited) {
            out.push(name.to_string());
        }
    }
}

/// One name of an import; None for `*`.
struct Leaf {
    path: Vec<String>,
    name: Option<String>,
}

fn leaves(tree: &syn::UseTree) -> Vec<Leaf> {
    fn walk(tree: &syn::UseTree, before: &[String], out: &mut Vec<Leaf>) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => walk(&path.tree, &with(&path.ident), out),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| walk(tree, before, out)),
            syn::UseTree::Glob(_) => out.push(Leaf { path: before.to_vec(), name: None }),
            // `use a::{self}` is `use a`.
            syn::UseTree::Name(name) if name.ident == "self" && !before.is_empty() => {
                out.push(Leaf { path: before.to_vec(), name: before.last().cloned() });
            }
            syn::UseTree::Name(name) => {
                out.push(Leaf { path: with(&name.ident), name: Some(name.ident.to_string()) });
            }
            syn::UseTree::Rename(name) => {
                let path = if name.ident == "self" { before.to_vec() } else { with(&name.ident) };
                out.push(Leaf { path, name: Some(name.rename.to_string()) });
            }
        }
    }
    let mut out = Vec::new();
    walk(tree, &[], &mut out);
    out
}

/// The imports inside of a function: taken as the module's.
#[derive(Default)]
struct Imports<'ast>(Vec<&'ast syn::UseTree>);

impl<'ast> Visit<'ast> for Imports<'ast> {
    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        self.0.push(&import.tree);
    }
}

/// Every path of a file, with the module in which it is read.
struct Paths {
    module: Module,
    found: BTreeSet<(Module, Vec<String>)>,
}

impl Paths {
    fn note(&mut self, path: Vec<String>) {
        self.found.insert((self.module.clone(), path));
    }

    /// Inside a macro there are only tokens: names joined by `::`.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.note(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(sign) if sign.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.note(std::mem::take(&mut path));
                    colons = 0;
                    self.scan(group.stream());
                }
                _ => {
                    self.note(std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.note(path);
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_of_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, inner: &'ast syn::ItemMod) {
        self.module.push(inner.ident.to_string());
        visit::visit_item_mod(self, inner);
        self.module.pop();
    }

    fn visit_impl_item_fn(&mut self, method: &'ast syn::ImplItemFn) {
        if !is_of_tests(&method.attrs) {
            visit::visit_impl_item_fn(self, method);
        }
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        for Leaf { path, name } in leaves(&import.tree) {
            // `*` brings what its module defines; names that it passes on are found where they are used.
            self.note(if name.is_some() { path } else { [path, vec!["*".to_owned()]].concat() });
        }
    }

    /// Who may see an item is no use of that module.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.scan(call.tokens.clone());
    }
}
