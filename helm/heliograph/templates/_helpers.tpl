{{/* Names, labels, images. */}}

{{- define "heliograph.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | replace "." "-" | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for "-matcher-headless" and the hashes that Kubernetes puts behind. Dots can't be in names of Services and of processes. */}}
{{- define "heliograph.fullname" -}}
{{- $name := include "heliograph.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | replace "." "-" | trimSuffix "-" -}}
{{- end -}}

{{/* Roles that run, by the names that metrics and rules have for them. */}}
{{- define "heliograph.roles" -}}
{{- $roles := ternary (list "standalone") (list "gateway" "ingest" "matcher") (eq .Values.mode "single") -}}
{{- if .Values.canary.enabled }}{{ $roles = append $roles "canary" }}{{ end -}}
{{- join " " $roles -}}
{{- end -}}

{{/* Values of a role. */}}
{{- define "heliograph.values" -}}
{{- get .root.Values (ternary "single" .role (eq .role "standalone")) | toJson -}}
{{- end -}}

{{/* What clients come to: the one process, or the gateways. */}}
{{- define "heliograph.edge" -}}
{{- ternary "standalone" "gateway" (eq .Values.mode "single") -}}
{{- end -}}

{{- define "heliograph.selectorLabels" -}}
app.kubernetes.io/name: {{ include "heliograph.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Labels of objects and pods; of a role if there is one. */}}
{{- define "heliograph.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: {{ include "heliograph.name" .root }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{ include "heliograph.selectorLabels" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object. Takes root; suffix of its name; role; annotations, labels and namespace of its own. */}}
{{- define "heliograph.metadata" -}}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations -}}
name: {{ include "heliograph.fullname" .root }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "heliograph.labels" (dict "root" .root "role" .role) | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Image of a role: its own tag or digest, else that of all. */}}
{{- define "heliograph.image" -}}
{{- $all := .root.Values.image -}}
{{- $own := .values.image | default dict -}}
{{- $registry := .root.Values.global.imageRegistry | default ($own.registry | default $all.registry) -}}
{{- $repository := $own.repository | default $all.repository -}}
{{- $tag := $all.tag -}}
{{- $digest := $all.digest -}}
{{- if or $own.tag $own.digest }}{{ $tag = $own.tag }}{{ $digest = $own.digest }}{{ end -}}
{{- $name := ternary (printf "%s/%s" $registry $repository) $repository (ne $registry "") -}}
{{- if $digest -}}
{{- printf "%s@%s" $name $digest -}}
{{- else -}}
{{- printf "%s:%s" $name ($tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "heliograph.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "heliograph.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* A Service's name in full. Takes root and name. */}}
{{- define "heliograph.host" -}}
{{- printf "%s.%s.svc.%s" .name .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end -}}

{{/* Where clients in this Kubernetes cluster connect. */}}
{{- define "heliograph.serviceUrl" -}}
{{- $host := include "heliograph.host" (dict "root" . "name" (include "heliograph.fullname" .)) -}}
{{- printf "ws://%s:%d%s" $host (int .Values.service.port) (include "heliograph.path" .) -}}
{{- end -}}

{{/* The path that is a relay, if it isn't the root. */}}
{{- define "heliograph.path" -}}
{{- $paths := (.Values.config.gateway | default dict).paths | default (list "/") -}}
{{- ternary "" (first $paths) (has "/" $paths) -}}
{{- end -}}

{{/* The same for every gateway by itself: a name with the addresses of all. */}}
{{- define "heliograph.gatewaysUrl" -}}
{{- if eq .Values.mode "single" -}}
{{- include "heliograph.serviceUrl" . -}}
{{- else -}}
{{- $host := include "heliograph.host" (dict "root" . "name" (printf "%s-gateway-headless" (include "heliograph.fullname" .))) -}}
{{- printf "ws://%s:7777%s" $host (include "heliograph.path" .) -}}
{{- end -}}
{{- end -}}

{{/* Whether nodes pass connections on to each other, which hides clients' addresses; nothing for a Service inside. */}}
{{- define "heliograph.externalTrafficPolicy" -}}
{{- with .Values.service -}}
{{- if ne .type "ClusterIP" -}}
{{- .externalTrafficPolicy | default (ternary "Local" "Cluster" (eq .type "LoadBalancer")) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Why the relay wouldn't take an event of the canary and of the test, if it wouldn't. */}}
{{- define "heliograph.refusesProbes" -}}
{{- $policy := .Values.config.policy | default dict -}}
{{- $kind := int ((.Values.config.canary | default dict).kind | default 1166) -}}
{{- $key := .Values.canary.secretKey -}}
{{- $allowed := list -}}
{{- range $policy.kinds_allowed }}{{ $allowed = append $allowed (int .) }}{{ end -}}
{{- $blocked := list -}}
{{- range $policy.kinds_blocked }}{{ $blocked = append $blocked (int .) }}{{ end -}}
{{- if $policy.pow_min_bits -}}
config.policy.pow_min_bits is {{ int $policy.pow_min_bits }} and the canary does no proof of work: set it to 0
{{- else if and $policy.pubkeys_allowed (not $key.value) (not $key.existingSecret) -}}
config.policy.pubkeys_allowed is set, and the canary has another key at each start: set canary.secretKey, and allow its public key
{{- else if and $allowed (not (has $kind $allowed)) -}}
the canary's kind {{ $kind }} isn't in config.policy.kinds_allowed: add it
{{- else if has $kind $blocked -}}
the canary's kind {{ $kind }} is in config.policy.kinds_blocked: remove it, or set config.canary.kind
{{- end -}}
{{- end -}}
