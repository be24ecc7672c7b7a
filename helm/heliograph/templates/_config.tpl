{{/* The configuration of each role, as a file, and when a change of it restarts pods. */}}

{{/* Sections that a role reads. What it doesn't read isn't in its file, so that changing the database's settings restarts no gateway. */}}
{{- define "heliograph.sections" -}}
{{- $common := "admin log traces" -}}
{{- if eq .role "standalone" -}}
relay gateway auth policy verify store recent {{ $common }}
{{- else if eq .role "gateway" -}}
relay gateway auth policy verify cluster nats ingest matcher {{ $common }}
{{- else if eq .role "ingest" -}}
relay cluster nats scylla ingest {{ $common }}
{{- else if eq .role "matcher" -}}
relay gateway auth policy cluster nats scylla ingest matcher recent {{ $common }}
{{- else if eq .role "migrate" -}}
scylla log
{{- else if eq .role "canary" -}}
canary {{ $common }}
{{- else if eq .role "test" -}}
{{/* What is advertised, and how to look. */}}
relay gateway auth policy verify canary log
{{- end -}}
{{- end -}}

{{/* URLs of the relay: as configured, or where the Ingress and the HTTPRoute make it reachable. */}}
{{- define "heliograph.urls" -}}
{{- $urls := list -}}
{{- with (.Values.config.relay | default dict).url }}
{{- $urls = concat $urls . -}}
{{- else -}}
{{- with .Values.ingress }}
{{- if .enabled -}}
{{- $scheme := ternary "wss" "ws" (not (empty .tls)) -}}
{{- range .hosts }}{{ $urls = append $urls (printf "%s://%s%s" $scheme . (trimSuffix "/" $.Values.ingress.path)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- with .Values.httpRoute }}
{{- if .enabled -}}
{{- range .hostnames }}{{ $urls = append $urls (printf "wss://%s%s" . (trimSuffix "/" $.Values.httpRoute.path)) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "urls" (uniq $urls)) -}}
{{- end -}}

{{/* Sections and keys of a role: what the chart knows, under what `config` says. Takes root and role. */}}
{{- define "heliograph.config" -}}
{{- $values := .root.Values -}}
{{- $config := deepCopy $values.config -}}
{{- $auth := $config.auth | default dict -}}
{{- $urls := (include "heliograph.urls" .root | fromJson).urls -}}
{{- if or $auth.required_to_write $auth.required_to_read -}}
{{/* The canary and the test authenticate for the address that they connect to. */}}
{{- $urls = uniq (concat $urls (list (include "heliograph.serviceUrl" .root) (include "heliograph.gatewaysUrl" .root))) -}}
{{- end -}}
{{- if $urls }}{{ $_ := set $config "relay" (merge (dict "url" $urls) ($config.relay | default dict)) }}{{ end -}}
{{- $chart := dict
  "gateway" (dict "listen" (printf "%s:7777" $values.bindAddress) "trusted_proxies" $values.trustedProxies)
  "store" (dict "dir" "/data")
  "nats" (dict "servers" $values.nats.servers)
  "scylla" (dict "nodes" $values.scylla.nodes)
  "matcher" (dict "listen" (printf "%s:7779" $values.bindAddress))
  "admin" (dict "listen" (printf "%s:7778" $values.bindAddress))
-}}
{{/* Only where it is said: a program that is a version older doesn't know the key. */}}
{{- if $values.proxyProtocol }}{{ $_ := set $chart.gateway "proxy_protocol" true }}{{ end -}}
{{/* Behind the gateways' name each reader is at another one, so that one at least isn't where probes are published. */}}
{{- $service := include "heliograph.serviceUrl" .root -}}
{{- $gateways := include "heliograph.gatewaysUrl" .root -}}
{{- if eq .role "test" -}}
{{- $_ := set $chart "canary" (dict "publish" $service "read" (list $gateways)) -}}
{{- else -}}
{{- $_ := set $chart "canary" (dict
  "publish" ($values.canary.publish | default $service)
  "read" ($values.canary.read | default (list $gateways $gateways))) -}}
{{- end -}}
{{- $config = mergeOverwrite $config $chart -}}
{{- $read := dict -}}
{{- range $section := splitList " " (include "heliograph.sections" .) -}}
{{- with get $config $section | default dict }}{{ $_ := set $read $section . }}{{ end -}}
{{- end -}}
{{- toJson $read -}}
{{- end -}}

{{/* The same as TOML. JSON's texts, numbers and lists are TOML's as well. */}}
{{- define "heliograph.toml" -}}
# Made by the chart; `config` in its values is what to change.
{{- range $section, $keys := . }}

[{{ $section }}]
{{- range $key, $value := $keys }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- end }}
{{ end -}}

{{/* A hash of what makes pods restart when it changes. Keys that pods read again by themselves aren't in it. */}}
{{- define "heliograph.configChecksum" -}}
{{- $config := include "heliograph.config" . | fromJson -}}
{{- if .root.Values.configReload -}}
{{- $reload := .root.Files.Get "files/reload-keys.json" | fromJson -}}
{{- range $section, $keys := $config -}}
{{- $stay := $keys -}}
{{- range get $reload $section | default list }}{{ $stay = omit $stay . }}{{ end -}}
{{/* A section that has nothing else is as one that isn't there. */}}
{{- if $stay }}{{ $_ := set $config $section $stay }}{{ else }}{{ $_ := unset $config $section }}{{ end -}}
{{- end -}}
{{- end -}}
{{- include "heliograph.toml" $config | sha256sum -}}
{{- end -}}
