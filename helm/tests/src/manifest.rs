//! Rendered objects, and the pods in them.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use serde_yaml_ng::Deserializer;

/// The label that says which role an object belongs to.
const ROLE: &str = "app.kubernetes.io/component";

/// Kinds with a pod's template at `spec.template`.
const WITH_TEMPLATE: [&str; 3] = ["Deployment", "StatefulSet", "Job"];

/// The objects of one rendering, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// All of them; none is null.
    pub objects: Vec<Value>,
}

/// What runs pods: an object and the pod's template in it, or a pod of its own.
#[derive(Debug, Clone, Copy)]
pub struct Workload<'a> {
    /// The whole object.
    pub object: &'a Value,
    /// `metadata` and `spec` of its pods.
    pub template: &'a Value,
}

impl Manifest {
    /// Reads rendered text.
    ///
    /// # Errors
    ///
    /// It isn't YAML, or holds something else than objects.
    pub fn parse(text: &str) -> Result<Self> {
        let mut objects = Vec::new();
        for document in Deserializer::from_str(text) {
            let object = Value::deserialize(document).context("rendered text isn't YAML")?;
            if object.is_null() {
                continue;
            }
            object["kind"].as_str().context("an object without kind")?;
            object["metadata"]["name"]
                .as_str()
                .context("an object without name")?;
            objects.push(object);
        }
        Ok(Self { objects })
    }

    /// The objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let is_kind = move |object: &&Value| object["kind"] == kind;
        self.objects.iter().filter(is_kind)
    }

    /// The object of a kind with a name.
    #[must_use]
    pub fn named<'a>(&'a self, kind: &'a str, name: &str) -> Option<&'a Value> {
        self.of_kind(kind)
            .find(|object| object["metadata"]["name"] == name)
    }

    /// The objects of a kind that belong to a role.
    pub fn of_role<'a>(&'a self, kind: &'a str, role: &'a str) -> impl Iterator<Item = &'a Value> {
        let is_role = move |object: &&Value| object["metadata"]["labels"][ROLE] == role;
        self.of_kind(kind).filter(is_role)
    }

    /// Everything that runs pods.
    #[must_use]
    pub fn workloads(&self) -> Vec<Workload<'_>> {
        let workload = |object| Workload::of(object);
        self.objects.iter().filter_map(workload).collect()
    }

    /// What runs the pods of a role.
    ///
    /// # Panics
    ///
    /// If nothing does.
    #[must_use]
    #[track_caller]
    pub fn workload(&self, role: &str) -> Workload<'_> {
        let found = self.workloads().into_iter().find(|one| one.role() == role);
        found.unwrap_or_else(|| panic!("nothing runs the role {role}"))
    }
}

impl<'a> Workload<'a> {
    fn of(object: &'a Value) -> Option<Self> {
        let kind = object["kind"].as_str()?;
        let template = if WITH_TEMPLATE.contains(&kind) {
            &object["spec"]["template"]
        } else if kind == "Pod" {
            object
        } else {
            return None;
        };
        Some(Self { object, template })
    }

    /// Its kind and name, for messages: `Deployment relay-gateway`.
    #[must_use]
    pub fn name(&self) -> String {
        let text = |value: &'a Value| value.as_str().unwrap_or_default();
        let name = text(&self.object["metadata"]["name"]);
        format!("{} {name}", text(&self.object["kind"]))
    }

    /// The role of its pods: `gateway`, or `standalone` for the whole relay in one process; empty if
    /// they have none.
    #[must_use]
    pub fn role(&self) -> &'a str {
        self.labels()[ROLE].as_str().unwrap_or_default()
    }

    /// The labels of its pods.
    #[must_use]
    pub fn labels(&self) -> &'a Value {
        &self.template["metadata"]["labels"]
    }

    /// The specification of its pods.
    #[must_use]
    pub fn spec(&self) -> &'a Value {
        &self.template["spec"]
    }

    /// Its containers of all sorts.
    #[must_use]
    pub fn containers(&self) -> Vec<&'a Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let lists = lists.into_iter().map(|list| &self.spec()[list]);
        lists.filter_map(Value::as_array).flatten().collect()
    }

    /// The container that runs the program.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    #[track_caller]
    pub fn program(&self) -> &'a Value {
        let containers = self.spec()["containers"].as_array();
        let first = containers.and_then(|containers| containers.first());
        first.unwrap_or_else(|| panic!("{} has no container", self.name()))
    }

    /// Whether its pods have all of these labels, and there is at least one.
    #[must_use]
    pub fn is_selected(&self, labels: &Value) -> bool {
        let own = self.labels();
        labels.as_object().is_some_and(|labels| {
            !labels.is_empty() && labels.iter().all(|(name, value)| own[name] == *value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "---\n---\nkind: Job\nmetadata: {name: a}\nspec:\n  template:\n    \
        metadata: {labels: {app.kubernetes.io/component: migrate, b: c}}\n    \
        spec: {initContainers: [{name: x}], containers: [{name: y}, {name: z}]}\n\
        ---\nkind: Service\nmetadata: {name: a}\n";

    #[test]
    fn pods_are_found_with_all_of_their_containers() {
        let manifest = Manifest::parse(TEXT).unwrap();
        assert_eq!(manifest.objects.len(), 2);
        let job = manifest.workload("migrate");
        assert_eq!(job.name(), "Job a");
        assert_eq!(job.containers().len(), 3);
        assert_eq!(job.program()["name"], "y");
    }

    #[test]
    fn a_selector_wants_all_of_its_labels() {
        let manifest = Manifest::parse(TEXT).unwrap();
        let job = manifest.workload("migrate");
        assert!(job.is_selected(&serde_json::json!({"b": "c"})));
        assert!(!job.is_selected(&serde_json::json!({"b": "c", "d": "e"})));
        assert!(!job.is_selected(&serde_json::json!({})));
    }
}
