//! Authorization: checks the rules of a Role before anything else about a request.

use serde_json::Value;

/// The rights of a client. A namespaced Role grants nothing across namespaces.
#[derive(Clone, Debug)]
pub struct Access {
    /// The user as refusals name it: `system:serviceaccount:games:slotkeeper`.
    pub user: String,
    /// The namespace in which the rules apply; none: everywhere, as with a ClusterRole.
    pub namespace: Option<String>,
    /// The rules; a request needs one that grants it.
    pub rules: Vec<Rule>,
}

/// One rule of a Role: any of its verbs on any of its resources in any of its groups. `*` matches anything.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verbs: Vec<String>,
    /// API groups; the empty one is that of pods.
    pub groups: Vec<String>,
    /// `pods`, or `pods/status` for a subresource.
    pub resources: Vec<String>,
    /// Only these objects; empty: all.
    pub names: Vec<String>,
}

/// The rights that a request needs, in the terms of a rule.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The verb of the request, as in [`Rule::verbs`].
    pub verb: &'a str,
    /// The API group of the resource.
    pub group: &'a str,
    /// With the subresource, if there is one.
    pub resource: &'a str,
    /// The namespace in the path. `None` for requests across namespaces.
    pub namespace: Option<&'a str>,
    /// The object's name. `None` for lists, watches and creations.
    pub name: Option<&'a str>,
}

impl Access {
    /// Reads the rules of a Role or ClusterRole object (from JSON or YAML). A Role without namespace belongs to `default`.
    ///
    /// # Errors
    /// The first thing that is wrong with the object.
    pub fn of_role(user: &str, role: &Value) -> Result<Access, String> {
        let namespace = match role["kind"].as_str() {
            Some("Role") => Some(role["metadata"]["namespace"].as_str().unwrap_or("default").to_owned()),
            Some("ClusterRole") => None,
            other => return Err(format!("kind is {other:?}: allowed are Role and ClusterRole")),
        };
        let rules = role["rules"].as_array().ok_or("rules: a list is needed")?;
        let rules = rules.iter().enumerate().map(|(at, rule)| {
            let words = |key: &str| -> Result<Vec<String>, String> {
                let Some(list) = rule.get(key) else { return Ok(Vec::new()) };
                let list = list.as_array().ok_or(format!("rules[{at}].{key}: a list is needed"))?;
                let word = |word: &Value| word.as_str().map(str::to_owned);
                list.iter().map(word).collect::<Option<Vec<_>>>().ok_or(format!("rules[{at}].{key}: texts are needed"))
            };
            Ok(Rule {
                verbs: words("verbs")?,
                groups: words("apiGroups")?,
                resources: words("resources")?,
                names: words("resourceNames")?,
            })
        });
        Ok(Access { user: user.to_owned(), namespace, rules: rules.collect::<Result<_, String>>()? })
    }

    /// Restricts the rules to this namespace, as a RoleBinding of a ClusterRole does.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Access {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Reports whether a rule grants the request.
    #[must_use]
    pub fn allows(&self, wanted: Wanted<'_>) -> bool {
        let here = self.namespace.as_deref().is_none_or(|namespace| wanted.namespace == Some(namespace));
        here && self.rules.iter().any(|rule| rule.grants(wanted))
    }
}

impl Rule {
    /// Returns a rule for all objects of these resources in one group.
    #[must_use]
    pub fn new(verbs: &[&str], group: &str, resources: &[&str]) -> Rule {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Rule { verbs: owned(verbs), groups: vec![group.to_owned()], resources: owned(resources), names: Vec::new() }
    }

    fn grants(&self, wanted: Wanted<'_>) -> bool {
        let any = |words: &[String], word: &str| words.iter().any(|w| w == word || w == "*");
        any(&self.verbs, wanted.verb)
            && any(&self.groups, wanted.group)
            && any(&self.resources, wanted.resource)
            && (self.names.is_empty() || wanted.name.is_some_and(|name| self.names.iter().any(|n| n == name)))
    }
}
