{{/*
What can't be, each refused with one sentence that says what to do. Shapes of single values are the schema's task
(values.schema.json); here is what several values say together.
*/}}

{{- define "heliograph.validate" -}}
{{- $values := .Values -}}
{{- $config := $values.config -}}
{{- $cluster := eq $values.mode "cluster" -}}

{{/* refuses 1: a mode that there isn't (the schema refuses it before) */}}
{{- if not (has $values.mode (list "single" "cluster")) -}}
{{- fail (printf "mode: %q is neither \"single\" nor \"cluster\"." $values.mode) -}}
{{- end -}}

{{/* refuses 2: more than one process on one volume */}}
{{- if and (not $cluster) (ne (int $values.single.replicas) 1) -}}
{{- fail (printf "single.replicas is %d, but one process writes to its volume: leave it at 1, or set mode: cluster." (int $values.single.replicas)) -}}
{{- end -}}

{{- if $cluster -}}
{{/* refuses 3: a cluster without NATS */}}
{{- if not $values.nats.servers -}}
{{- fail "nats.servers is empty, but mode: cluster needs NATS with JetStream: name its servers, as in nats://nats.nats.svc:4222." -}}
{{- end -}}
{{/* refuses 4: a cluster without a database */}}
{{- if not $values.scylla.nodes -}}
{{- fail "scylla.nodes is empty, but mode: cluster needs ScyllaDB: name its nodes, as in scylla-client.scylla.svc:9042." -}}
{{- end -}}
{{/* refuses 5: a cluster that doesn't know its URL */}}
{{- if not (include "heliograph.urls" . | fromJson).urls -}}
{{- fail "config.relay.url is empty, but a cluster has to know what clients connect to: set it, as in [wss://relay.example.com], or give ingress.hosts or httpRoute.hostnames." -}}
{{- end -}}
{{- else -}}
{{/* refuses 6: servers of a cluster for one process */}}
{{- range $key, $list := dict "nats.servers" $values.nats.servers "scylla.nodes" $values.scylla.nodes -}}
{{- if $list -}}
{{- fail (printf "%s is set, but mode is single and one process needs no other: remove it, or set mode: cluster." $key) -}}
{{- end -}}
{{- end -}}
{{/* refuses 7: one process that scales */}}
{{- range $role := list "gateway" "ingest" "matcher" -}}
{{- if (get $values $role).autoscaling.enabled -}}
{{- fail (printf "%s.autoscaling.enabled is true, but mode is single and one process can't become more: set mode: cluster." $role) -}}
{{- end -}}
{{- end -}}
{{/* refuses 8: events that go with the pod, unsaid */}}
{{- if and (not $values.persistence.enabled) (not $values.persistence.acceptDataLoss) -}}
{{- fail "persistence.enabled is false, so every restart would lose every event: set persistence.acceptDataLoss: true if that is meant." -}}
{{- end -}}
{{/* refuses 9: a claim that isn't used */}}
{{- if and (not $values.persistence.enabled) $values.persistence.existingClaim -}}
{{- fail "persistence.existingClaim is set, but persistence.enabled is false: choose one." -}}
{{- end -}}
{{- end -}}

{{/* refuses 10: two names of one image */}}
{{- range $key, $image := dict "image" $values.image "single.image" $values.single.image "gateway.image" $values.gateway.image "ingest.image" $values.ingest.image "matcher.image" $values.matcher.image "migrate.image" $values.migrate.image "canary.image" $values.canary.image -}}
{{- if and $image.tag $image.digest -}}
{{- fail (printf "%s.tag and %s.digest are both set, and only one can say what runs: keep the digest." $key $key) -}}
{{- end -}}
{{- end -}}

{{/* refuses 11: an Ingress or a route to nowhere */}}
{{- if and $values.ingress.enabled (not $values.ingress.hosts) -}}
{{- fail "ingress.enabled is true, but ingress.hosts is empty: name at least one, as in [relay.example.com]." -}}
{{- end -}}
{{- if $values.httpRoute.enabled -}}
{{- range $key := list "parentRefs" "hostnames" -}}
{{- if not (get $values.httpRoute $key) -}}
{{- fail (printf "httpRoute.enabled is true, but httpRoute.%s is empty: name at least one." $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* refuses 31: a way in to a path that isn't a relay. A rewriting Ingress says ImplementationSpecific. */}}
{{- $paths := ($config.gateway | default dict).paths | default (list "/") -}}
{{- range $key, $way := dict "ingress" $values.ingress "httpRoute" $values.httpRoute -}}
{{- $path := trimSuffix "/" $way.path | default "/" -}}
{{- if and $way.enabled (ne ($way.pathType | default "") "ImplementationSpecific") (not (has $path $paths)) -}}
{{- fail (printf "%s.path is %q, but the relay answers 404 there: add %q to config.gateway.paths (%s)." $key $way.path $path (join ", " $paths)) -}}
{{- end -}}
{{- end -}}

{{/* refuses 12: an edge that closes connections before they are pinged */}}
{{- $ping := int (($config.gateway | default dict).ping_interval_secs | default 55) -}}
{{- if and $values.ingress.enabled (le (int $values.ingress.timeoutSeconds) $ping) -}}
{{- fail (printf "ingress.timeoutSeconds is %d, but clients are pinged every %d s (config.gateway.ping_interval_secs): make it longer, such as 3600." (int $values.ingress.timeoutSeconds) $ping) -}}
{{- end -}}

{{/* refuses 13: a port on nodes that the Service's type has not */}}
{{- if and $values.service.nodePort (eq $values.service.type "ClusterIP") -}}
{{- fail (printf "service.nodePort is %d, but service.type is ClusterIP: set the type to NodePort or LoadBalancer." (int $values.service.nodePort)) -}}
{{- end -}}

{{/* refuses 14: proxies that are no networks */}}
{{- range $values.trustedProxies -}}
{{- if not (regexMatch `^([0-9]{1,3}(\.[0-9]{1,3}){3}/([0-9]|[12][0-9]|3[0-2])|[0-9a-fA-F:]*:[0-9a-fA-F:.]*/([0-9]{1,2}|1[01][0-9]|12[0-8]))$` .) -}}
{{- fail (printf "trustedProxies: %q is no network: write it as in 10.0.0.0/8 or fd00::/8." .) -}}
{{- end -}}
{{- end -}}

{{/* refuses 32: headers of nobody */}}
{{- if and $values.proxyProtocol (not $values.trustedProxies) -}}
{{- fail "proxyProtocol is true, but trustedProxies is empty, so nobody's headers would be read: name the balancer's networks." -}}
{{- end -}}

{{/* refuses 15: two ways to scrape, that would count everything twice */}}
{{- if and $values.metrics.serviceMonitor.enabled $values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled are both true, and everything would be counted twice: choose one." -}}
{{- end -}}

{{/* refuses 16: a check of what isn't done */}}
{{- if and $values.migrate.check (not $values.migrate.enabled) -}}
{{- fail "migrate.check is true, but migrate.enabled is false, so nothing would be checked: set migrate.enabled: true." -}}
{{- end -}}

{{/* refuses 17: a promise that the copies can't keep */}}
{{- $clusterConfig := $config.cluster | default dict -}}
{{- $replicas := int (($config.nats | default dict).replicas | default 3) -}}
{{- if and $cluster (eq ($clusterConfig.durability | default "stored") "quorum") (lt $replicas 3) (not $clusterConfig.durability_unsafe) -}}
{{- fail (printf "config.cluster.durability is \"quorum\", but config.nats.replicas is %d: it needs 3 or more." $replicas) -}}
{{- end -}}

{{- include "heliograph.validateAccess" . -}}
{{- range $role := splitList " " (include "heliograph.roles" .) -}}
{{- include "heliograph.validateRole" (dict "root" $ "role" $role) -}}
{{- end -}}
{{- if $cluster -}}
{{- range $role := list "gateway" "ingest" "matcher" -}}
{{- include "heliograph.validateScaling" (dict "root" $ "role" $role) -}}
{{- include "heliograph.validateNatsAuth" (dict "root" $ "role" $role) -}}
{{- end -}}
{{- include "heliograph.validateLogin" (dict "key" "scylla.auth" "auth" $values.scylla.auth) -}}
{{- end -}}
{{- include "heliograph.validateCredentials" . -}}
{{- end -}}

{{/* Who may come in, and whether the canary is among them. */}}
{{- define "heliograph.validateAccess" -}}
{{- $values := .Values -}}
{{- $auth := $values.config.auth | default dict -}}

{{/* refuses 18: authentication for an address that nobody knows */}}
{{- if and (or $auth.required_to_write $auth.required_to_read) (not (include "heliograph.urls" . | fromJson).urls) -}}
{{- fail "config.auth asks clients to authenticate, which they do for the relay's URL, but config.relay.url is empty: set it, as in [wss://relay.example.com]." -}}
{{- end -}}

{{/* refuses 19: a canary that the relay refuses */}}
{{- $why := include "heliograph.refusesProbes" . -}}
{{- if and $values.canary.enabled $why -}}
{{- fail (printf "canary.enabled is true, but %s, or set canary.enabled: false." $why) -}}
{{- end -}}
{{- end -}}

{{/* One role: how it stops, and how many of it may be away. */}}
{{- define "heliograph.validateRole" -}}
{{- $name := ternary "single" .role (eq .role "standalone") -}}
{{- $values := get .root.Values $name -}}

{{/* refuses 20: killed while it drains */}}
{{- $delay := int ($values.endpointDelay | default 0) -}}
{{- $needed := add $delay (int $values.drainSeconds) 20 -}}
{{- if lt (int $values.terminationGracePeriodSeconds) (int $needed) -}}
{{- $parts := ternary "endpointDelay, drainSeconds" "drainSeconds" (hasKey $values "endpointDelay") -}}
{{- fail (printf "%s.terminationGracePeriodSeconds is %d, but %s and 20 s to flush make %d: raise it, or drain faster." $name (int $values.terminationGracePeriodSeconds) $parts $needed) -}}
{{- end -}}

{{/* refuses 21: a budget that says two things, nothing, or never */}}
{{- with $values.pdb -}}
{{- if .enabled -}}
{{- $min := not (kindIs "invalid" .minAvailable) -}}
{{- $max := not (kindIs "invalid" .maxUnavailable) -}}
{{- if eq $min $max -}}
{{- fail (printf "%s.pdb: give either maxUnavailable or minAvailable, and set the other to null." $name) -}}
{{- end -}}
{{- $scale := $values.autoscaling | default dict -}}
{{- $pods := int (ternary $scale.minReplicas ($values.replicas | default 1) ($scale.enabled | default false)) -}}
{{- $blocks := false -}}
{{- if $max -}}{{- $blocks = le (int (include "heliograph.podsOf" (dict "share" .maxUnavailable "pods" $pods))) 0 -}}{{- end -}}
{{- if $min -}}{{- $blocks = ge (int (include "heliograph.podsOf" (dict "share" .minAvailable "pods" $pods))) $pods -}}{{- end -}}
{{- if $blocks -}}
{{- fail (printf "%s.pdb lets none of %d pods go, so that no node could ever be drained: allow at least one." $name $pods) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Pods that a number or a percentage of a budget means: Kubernetes rounds up. Takes share and pods. */}}
{{- define "heliograph.podsOf" -}}
{{- if hasSuffix "%" (toString .share) -}}
{{- div (add (mul .pods (trimSuffix "%" .share | int)) 99) 100 -}}
{{- else -}}
{{- int .share -}}
{{- end -}}
{{- end -}}

{{/* What a role is scaled by. */}}
{{- define "heliograph.validateScaling" -}}
{{- $role := .role -}}
{{- $values := get .root.Values $role -}}
{{- $asks := .root.Values.autoscaling -}}
{{- with $values.autoscaling -}}
{{- if .enabled -}}
{{- $signals := include "heliograph.signals" $ | fromJsonArray -}}

{{/* refuses 22: a range without an inside */}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "%s.autoscaling.minReplicas (%d) is more than maxReplicas (%d): swap them." $role (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}

{{/* refuses 23: nothing to scale by */}}
{{- if not (or $signals .targetCPUPercent) -}}
{{- fail (printf "%s.autoscaling.enabled is true, but every target is 0: set at least one." $role) -}}
{{- end -}}
{{- if and .targetCPUPercent (not (dig "requests" "cpu" "" $values.resources)) -}}
{{- fail (printf "%s.autoscaling.targetCPUPercent is a share of %s.resources.requests.cpu, which isn't set: set it, or the target to 0." $role $role) -}}
{{- end -}}

{{/* refuses 24: nobody to ask */}}
{{- if and (eq .type "hpa") $signals (not $asks.customMetricsApi) -}}
{{- fail (printf "%s.autoscaling asks for %s, but no custom metrics API is said to answer: set autoscaling.customMetricsApi: true if there is one, use type: keda, or set that target to 0." $role (first $signals).metric) -}}
{{- end -}}
{{- if and (eq .type "keda") $signals (not $asks.prometheusAddress) -}}
{{- fail (printf "%s.autoscaling.type is keda, but autoscaling.prometheusAddress is empty: say where Prometheus is." $role) -}}
{{- end -}}

{{/* refuses 25: a target beyond what a pod takes */}}
{{- $most := int ((($.root.Values.config.gateway | default dict).connections_max) | default 50000) -}}
{{- if and (eq $role "gateway") (ge (int .targetConnections) $most) -}}
{{- fail (printf "gateway.autoscaling.targetConnections is %d, but a gateway takes %d (config.gateway.connections_max), so that none would ever be added: lower it." (int .targetConnections) $most) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* refuses 26: half a login. Takes key and auth. */}}
{{- define "heliograph.validateLogin" -}}
{{- $password := .auth.password | default dict -}}
{{- $given := or $password.value $password.existingSecret -}}
{{- if and .auth.username (not $given) -}}
{{- fail (printf "%s.username is set, but %s.password isn't: set its existingSecret or value." .key .key) -}}
{{- end -}}
{{- if and $given (not .auth.username) -}}
{{- fail (printf "%s.password is set, but %s.username isn't: set it." .key .key) -}}
{{- end -}}
{{- end -}}

{{- define "heliograph.validateNatsAuth" -}}
{{- $auth := include "heliograph.natsAuth" . | fromJson -}}
{{- $key := ternary (printf "%s.natsAuth" .role) "nats.auth" (not (empty (get .root.Values .role).natsAuth)) -}}
{{- include "heliograph.validateLogin" (dict "key" $key "auth" $auth) -}}

{{/* refuses 27: several logins */}}
{{- $ways := list -}}
{{- range list "password" "token" "credentials" "nkeySeed" -}}
{{- $given := get $auth . | default dict -}}
{{- if or $given.value $given.existingSecret }}{{ $ways = append $ways . }}{{ end -}}
{{- end -}}
{{- if gt (len $ways) 1 -}}
{{- fail (printf "%s has %s, and a role logs in by one: keep one of them." $key (join " and " $ways)) -}}
{{- end -}}
{{- end -}}

{{/* Credentials, wherever they stand. */}}
{{- define "heliograph.validateCredentials" -}}
{{- $values := .Values -}}
{{- $singles := dict "scylla.auth.password" $values.scylla.auth.password "canary.secretKey" $values.canary.secretKey "traces.headers" $values.traces.headers -}}
{{- range $owner, $auth := dict "nats.auth" $values.nats.auth "gateway.natsAuth" $values.gateway.natsAuth "ingest.natsAuth" $values.ingest.natsAuth "matcher.natsAuth" $values.matcher.natsAuth -}}
{{- range list "password" "token" "credentials" "nkeySeed" -}}
{{- $_ := set $singles (printf "%s.%s" $owner .) (get $auth . | default dict) -}}
{{- end -}}
{{- end -}}

{{/* refuses 28: a credential twice */}}
{{- range $key, $given := $singles -}}
{{- if and $given.value $given.existingSecret -}}
{{- fail (printf "%s.value and %s.existingSecret are both set: keep the Secret." $key $key) -}}
{{- end -}}
{{- end -}}
{{- range $key, $tls := dict "nats.tls" $values.nats.tls "scylla.tls" $values.scylla.tls "matcher.tls" $values.matcher.tls "canary.tls" $values.canary.tls "traces.tls" $values.traces.tls -}}
{{- if and $tls.existingSecret (or $tls.ca $tls.certificate $tls.key) -}}
{{- fail (printf "%s.existingSecret and PEM texts beside it are both set: keep the Secret." $key) -}}
{{- end -}}

{{/* refuses 29: a certificate without its key, or without what it proves */}}
{{- $certificate := or $tls.certificate (and $tls.existingSecret $tls.certificateKey) -}}
{{- $private := or $tls.key (and $tls.existingSecret $tls.keyKey) -}}
{{- if ne (empty $certificate) (empty $private) -}}
{{- fail (printf "%s has a certificate without its key, or a key without its certificate: give both." $key) -}}
{{- end -}}
{{- if and (has $key (list "matcher.tls" "scylla.tls")) $certificate (not (or $tls.ca (and $tls.existingSecret $tls.caKey))) -}}
{{- fail (printf "%s has a certificate, but no authorities to trust: give ca or caKey too." $key) -}}
{{- end -}}
{{- end -}}
{{- with $values.matcher.tls -}}
{{- if and (or .ca (and .existingSecret .caKey)) (not (or .certificate (and .existingSecret .certificateKey))) -}}
{{- fail "matcher.tls has authorities, but no certificate: gateways and matchers prove to each other who they are, so give all three." -}}
{{- end -}}
{{- end -}}

{{/* refuses 30: headers for nobody */}}
{{- if and (or $values.traces.headers.value $values.traces.headers.existingSecret) (not ($values.config.traces | default dict).endpoint) -}}
{{- fail "traces.headers is set, but config.traces.endpoint is empty: say where the collector is." -}}
{{- end -}}
{{- end -}}
