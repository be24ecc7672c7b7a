//! Everything that the wire forms give out: names, numbers, types. As text, one line each, that is
//! both read by people in a review and read back by the check.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use anyhow::{Context, Error, Result, bail};
use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

const HEAD: &str = "\
# Every number and name that the wire forms in proto/ have given out. `cargo xtask proto` adds what is
# new; what stands here can't be renumbered, renamed or retyped, and goes only by being reserved.
";

/// Messages, enums and calls by full name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Messages and enums: `message a.B`, `enum a.C`.
    pub(super) blocks: BTreeMap<String, Block>,
    /// Calls: name to signature.
    pub(super) calls: BTreeMap<String, String>,
}

/// The members of one message or enum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// What each number in use stands for: `name type`, for an enum the name alone.
    pub(super) members: BTreeMap<i32, String>,
    /// Numbers that may not be given out again.
    pub(super) reserved_numbers: BTreeSet<i32>,
    /// Names that may not be given out again.
    pub(super) reserved_names: BTreeSet<String>,
}

impl Listing {
    /// Lists what a compiler read.
    pub(super) fn of(files: &FileDescriptorSet) -> Self {
        let mut listing = Self::default();
        for file in &files.file {
            let package = file.package();
            for message in &file.message_type {
                listing.message(package, message);
            }
            for values in &file.enum_type {
                listing.values(package, values);
            }
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{package}.{}.{}", service.name(), method.name());
                    listing.calls.insert(name, signature(method));
                }
            }
        }
        listing
    }

    fn message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        let block = Block {
            members: message
                .field
                .iter()
                .map(|field| (field.number(), describe(field, message)))
                .collect(),
            // Their ends are exclusive.
            reserved_numbers: message
                .reserved_range
                .iter()
                .flat_map(|range| range.start()..range.end())
                .collect(),
            reserved_names: message.reserved_name.iter().cloned().collect(),
        };
        for inner in &message.nested_type {
            self.message(&name, inner);
        }
        for values in &message.enum_type {
            self.values(&name, values);
        }
        self.blocks.insert(format!("message {name}"), block);
    }

    fn values(&mut self, scope: &str, values: &EnumDescriptorProto) {
        let block = Block {
            members: values
                .value
                .iter()
                .map(|value| (value.number(), value.name().to_owned()))
                .collect(),
            // Unlike those of messages, their ends are inclusive.
            reserved_numbers: values
                .reserved_range
                .iter()
                .flat_map(|range| range.start()..=range.end())
                .collect(),
            reserved_names: values.reserved_name.iter().cloned().collect(),
        };
        self.blocks
            .insert(format!("enum {scope}.{}", values.name()), block);
    }
}

/// `name type`, with how often it may occur and the oneof that it belongs to.
fn describe(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let label = if field.label() == Label::Repeated {
        "repeated "
    } else if field.proto3_optional() {
        "optional "
    } else {
        ""
    };
    let kind = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => field.type_name().trim_start_matches('.'),
        scalar => {
            let name = scalar.as_str_name();
            return finish(field, message, label, &name[5..].to_lowercase());
        }
    };
    finish(field, message, label, kind)
}

fn finish(
    field: &FieldDescriptorProto,
    message: &DescriptorProto,
    label: &str,
    kind: &str,
) -> String {
    let choice = field
        .oneof_index
        .filter(|_| !field.proto3_optional())
        .and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?))
        .map_or(String::new(), |choice| format!(" in {}", choice.name()));
    format!("{} {label}{kind}{choice}", field.name())
}

fn signature(method: &MethodDescriptorProto) -> String {
    let side = |stream: bool, name: &str| {
        let stream = if stream { "stream " } else { "" };
        format!("({stream}{})", name.trim_start_matches('.'))
    };
    format!(
        "{} returns {}",
        side(method.client_streaming(), method.input_type()),
        side(method.server_streaming(), method.output_type())
    )
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for (name, block) in &self.blocks {
            writeln!(f, "\n{name}")?;
            for (number, member) in &block.members {
                writeln!(f, "  {number} {member}")?;
            }
            for number in &block.reserved_numbers {
                writeln!(f, "  reserved {number}")?;
            }
            for name in &block.reserved_names {
                writeln!(f, "  reserved name {name}")?;
            }
        }
        if !self.calls.is_empty() {
            f.write_str("\n")?;
        }
        for (name, signature) in &self.calls {
            writeln!(f, "rpc {name} {signature}")?;
        }
        Ok(())
    }
}

impl FromStr for Listing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut listing = Self::default();
        let mut block: Option<&mut Block> = None;
        for (index, line) in text.lines().enumerate() {
            let at = || format!("line {}: `{line}`", index + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(member) = line.strip_prefix("  ") {
                let block = block.as_deref_mut().with_context(at)?;
                block.read(member).with_context(at)?;
            } else if let Some(call) = line.strip_prefix("rpc ") {
                let (name, signature) = call.split_once(' ').with_context(at)?;
                listing.calls.insert(name.to_owned(), signature.to_owned());
            } else if line.starts_with("message ") || line.starts_with("enum ") {
                block = Some(listing.blocks.entry(line.to_owned()).or_default());
            } else {
                bail!(at());
            }
        }
        Ok(listing)
    }
}

impl Block {
    fn read(&mut self, line: &str) -> Result<()> {
        if let Some(name) = line.strip_prefix("reserved name ") {
            self.reserved_names.insert(name.to_owned());
        } else if let Some(number) = line.strip_prefix("reserved ") {
            self.reserved_numbers.insert(number.parse()?);
        } else {
            let (number, member) = line.split_once(' ').context("no name")?;
            self.members.insert(number.parse()?, member.to_owned());
        }
        Ok(())
    }
}
