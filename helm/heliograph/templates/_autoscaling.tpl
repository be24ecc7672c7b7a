{{/* What a role is scaled by. */}}

{{- define "heliograph.intOrPercent" -}}
{{- ternary (toString .) (printf "%d" (int .)) (kindIs "string" .) -}}
{{- end -}}

{{/* kind and name of what a role runs as. */}}
{{- define "heliograph.scaleTarget" -}}
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" (eq .role "matcher") }}
name: {{ include "heliograph.fullname" .root }}-{{ .role }}
{{- end -}}

{{/*
Signals of a role that are switched on, as JSON: metric (its name in a custom metrics API), target (for one pod, or of the whole
role if it is one number for all pods), query and shared. Takes root and role.
*/}}
{{- define "heliograph.signals" -}}
{{- $scale := (include "heliograph.values" . | fromJson).autoscaling -}}
{{- $pods := printf `namespace="%s",pod=~"%s-%s-.*"` .root.Release.Namespace (include "heliograph.fullname" .root) .role -}}
{{- $signals := list -}}
{{- with $scale.targetConnections -}}
{{- $signals = append $signals (dict "metric" "heliograph_connections" "target" . "query" (printf "sum(heliograph_connections{%s})" $pods)) -}}
{{- end -}}
{{- with $scale.targetEgressBytes -}}
{{- $signals = append $signals (dict "metric" "heliograph_egress_bytes_per_second" "target" . "query" (printf `sum(rate(heliograph_client_bytes_total{dir="out",%s}[2m]))` $pods)) -}}
{{- end -}}
{{- with $scale.targetLagSeconds -}}
{{- $signals = append $signals (dict "metric" "heliograph_ingest_oldest_unacked_seconds" "target" . "shared" true "query" (printf "max(heliograph_ingest_oldest_unacked_seconds{%s})" $pods)) -}}
{{- end -}}
{{- with $scale.targetSubscriptions -}}
{{- $signals = append $signals (dict "metric" "heliograph_matcher_subscriptions" "target" . "query" (printf "sum(heliograph_matcher_subscriptions{%s})" $pods)) -}}
{{- end -}}
{{- toJson $signals -}}
{{- end -}}

{{- define "heliograph.scaleBehavior" -}}
{{- range $direction, $limits := dict "scaleDown" .scaleDown "scaleUp" .scaleUp }}
{{ $direction }}:
  stabilizationWindowSeconds: {{ int $limits.windowSeconds }}
  policies:
    - { type: Percent, value: {{ int $limits.percent }}, periodSeconds: {{ int $limits.periodSeconds }} }
{{- end }}
{{- end -}}
