{{/* Pods: one definition for all roles, so that none is less restricted than another. */}}

{{/* Spread over zones and nodes. Takes root, role and values. */}}
{{- define "heliograph.topologySpread" -}}
{{- $root := .root -}}
{{- $role := .role -}}
{{- with .values.topologySpread -}}
{{- range $key, $when := dict "topology.kubernetes.io/zone" .zone "kubernetes.io/hostname" .host }}
{{- if $when }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: {{ $when }}
  {{- if has $role (list "gateway" "ingest") }}
  # Pods of the version before don't count while they are replaced.
  matchLabelKeys: [pod-template-hash]
  {{- end }}
  labelSelector:
    matchLabels:
      {{- include "heliograph.selectorLabels" (dict "root" $root "role" $role) | nindent 6 }}
{{- end }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Containers of one's own, restricted as those of the chart unless they say otherwise. Takes root and containers. */}}
{{- define "heliograph.extraContainers" -}}
{{- range .containers }}
{{- $container := deepCopy . }}
{{- if not (hasKey $container "securityContext") }}{{ $_ := set $container "securityContext" $.root.Values.securityContext }}{{ end }}
{{ list $container | toYaml }}
{{- end }}
{{- end -}}

{{- define "heliograph.imagePullSecrets" -}}
{{- with uniq (concat .Values.global.imagePullSecrets .Values.image.pullSecrets) -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end -}}
{{- end -}}

{{- define "heliograph.probes" -}}
{{- range $name, $path := dict "startup" "/startupz" "liveness" "/livez" "readiness" "/readyz" }}
{{ $name }}Probe:
  httpGet: { path: {{ $path }}, port: admin }
  {{- toYaml (get $.probes $name) | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
How it stops; the program ends by itself before Kubernetes ends it. Only who is behind a balancer waits for one. There is another
pod behind the same address: clients are told to come back.
*/}}
{{- define "heliograph.shutdownEnv" -}}
- name: HELIOGRAPH_SHUTDOWN_UNREADY_SECS
  value: {{ int .endpointDelay | quote }}
- name: HELIOGRAPH_SHUTDOWN_DRAIN_SECS
  value: {{ int .drainSeconds | quote }}
- name: HELIOGRAPH_SHUTDOWN_RESTARTS
  value: "true"
- name: HELIOGRAPH_SHUTDOWN_GRACE_SECS
  value: {{ sub (int .terminationGracePeriodSeconds) 5 | quote }}
{{- end -}}

{{/*
A pod template. Takes root; role; values of the role; command (the subcommand with its arguments); env, volumes and mounts
beside those that all have, as text; ports, a list of names; serviceAccount; restartPolicy.
*/}}
{{- define "heliograph.podTemplate" -}}
{{- $root := .root -}}
{{- $values := .values -}}
{{- $credentials := include "heliograph.credentials" . | fromJsonArray -}}
{{- $numbers := dict "ws" 7777 "admin" 7778 "link" 7779 -}}
metadata:
  labels:
    {{- include "heliograph.selectorLabels" (dict "root" $root "role" .role) | nindent 4 }}
    {{- with merge (dict) ($values.podLabels | default dict) $root.Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: heliograph
    {{- if .ports }}
    checksum/config: {{ include "heliograph.configChecksum" . }}
    {{- with include "heliograph.secret" . }}
    checksum/credentials: {{ sha256sum . }}
    {{- end }}
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ .serviceAccount | default (include "heliograph.serviceAccountName" $root) }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "heliograph.imagePullSecrets" $root }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- $security := deepCopy $root.Values.podSecurityContext }}
  {{- with $values.sysctls }}{{ $_ := set $security "sysctls" . }}{{ end }}
  securityContext:
    {{- toYaml $security | nindent 4 }}
  terminationGracePeriodSeconds: {{ int ($values.terminationGracePeriodSeconds | default 30) }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "heliograph.topologySpread" . | trim }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with $values.initContainers }}
  initContainers:
    {{- include "heliograph.extraContainers" (dict "root" $root "containers" .) | trim | nindent 4 }}
  {{- end }}
  containers:
    - name: heliograph
      image: {{ include "heliograph.image" . }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- range .command }}
        - {{ . }}
        {{- end }}
        - --config=/etc/heliograph/heliograph.toml
        {{- if and .ports $root.Values.configReload }}
        - --watch
        {{- end }}
        {{- range $values.extraArgs }}
        - {{ quote . }}
        {{- end }}
      {{- $env := list .env (include "heliograph.credentialsEnv" .) }}
      {{- if .ports }}{{ $env = append $env (include "heliograph.shutdownEnv" $values) }}{{ end }}
      {{- with $values.extraEnv }}{{ $env = append $env (toYaml .) }}{{ end }}
      {{- with without $env nil "" }}
      env:
        {{- range . }}
        {{- trim . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with .ports }}
      ports:
        {{- range . }}
        - { name: {{ . }}, containerPort: {{ get $numbers . }}, protocol: TCP }
        {{- end }}
      {{- include "heliograph.probes" $values | trim | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- toYaml $root.Values.securityContext | nindent 8 }}
      volumeMounts:
        - { name: config, mountPath: /etc/heliograph, readOnly: true }
        {{- if $credentials }}
        - { name: credentials, mountPath: {{ include "heliograph.credentialsDir" $root }}, readOnly: true }
        {{- end }}
        {{- with .mounts }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $values.extraContainers }}
    {{- include "heliograph.extraContainers" (dict "root" $root "containers" .) | trim | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: { name: {{ include "heliograph.fullname" $root }}-{{ .role }} }
    {{- if $credentials }}
    {{- include "heliograph.credentialsVolume" . | nindent 4 }}
    {{- end }}
    {{- with .volumes }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* The name of a process in the cluster: its pod's. */}}
{{- define "heliograph.nodeEnv" -}}
- name: HELIOGRAPH_CLUSTER_NODE
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
{{- end -}}
