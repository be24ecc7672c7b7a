{{/*
Credentials as files. Each is given in the values or lies in a Secret; either way the pod sees one folder,
/run/secrets/heliograph, and the program is told the paths. What is in the values goes into a Secret for each role, which
holds no more than that role needs.
*/}}

{{- define "heliograph.credentialsDir" -}}/run/secrets/heliograph{{- end -}}

{{/* The login to NATS of a role: its own, else that of all. */}}
{{- define "heliograph.natsAuth" -}}
{{- $own := (include "heliograph.values" . | fromJson).natsAuth -}}
{{- toJson ($own | default .root.Values.nats.auth) -}}
{{- end -}}

{{/* Adds one credential to `list`. Takes list, given (value, existingSecret, key), file and env. */}}
{{- define "heliograph.addCredential" -}}
{{- $given := .given | default dict -}}
{{- $key := $given.key | default .key -}}
{{- if $given.existingSecret -}}
{{- $_ := set .list "items" (append .list.items (dict "file" .file "env" .env "secret" $given.existingSecret "key" $key)) -}}
{{- else if $given.value -}}
{{- $_ := set .list "items" (append .list.items (dict "file" .file "env" .env "value" $given.value)) -}}
{{- end -}}
{{- end -}}

{{/* Adds the files of a TLS section. Takes list, tls, file (how names of files begin) and env (how variables begin). */}}
{{- define "heliograph.addTls" -}}
{{- $tls := .tls -}}
{{- $parts := list
  (dict "value" "ca" "key" "caKey" "file" "ca" "env" "CA")
  (dict "value" "certificate" "key" "certificateKey" "file" "certificate" "env" "CERTIFICATE")
  (dict "value" "key" "key" "keyKey" "file" "key" "env" "KEY")
-}}
{{- range $parts -}}
{{- $key := get $tls .key | default "" -}}
{{- $given := dict "value" (get $tls .value) "key" $key "existingSecret" (ternary $tls.existingSecret "" (ne $key "")) -}}
{{- include "heliograph.addCredential" (dict "list" $.list "given" $given "key" $key "file" (printf "%s-%s.pem" $.file .file) "env" (printf "%s_%s" $.env .env)) -}}
{{- end -}}
{{- end -}}

{{/* Every credential of a role, as JSON: file, env, and secret with key, or value. Takes root and role. */}}
{{- define "heliograph.credentials" -}}
{{- $values := .root.Values -}}
{{- $list := dict "items" list -}}
{{- if has .role (list "gateway" "ingest" "matcher") -}}
{{- $auth := include "heliograph.natsAuth" . | fromJson -}}
{{- include "heliograph.addCredential" (dict "list" $list "given" $auth.password "key" "password" "file" "nats-password" "env" "NATS_PASSWORD_FILE") -}}
{{- include "heliograph.addCredential" (dict "list" $list "given" $auth.token "key" "token" "file" "nats-token" "env" "NATS_TOKEN_FILE") -}}
{{- include "heliograph.addCredential" (dict "list" $list "given" $auth.credentials "key" "nats.creds" "file" "nats.creds" "env" "NATS_CREDENTIALS") -}}
{{- include "heliograph.addCredential" (dict "list" $list "given" $auth.nkeySeed "key" "nkey.seed" "file" "nats-nkey.seed" "env" "NATS_NKEY_SEED") -}}
{{- include "heliograph.addTls" (dict "list" $list "tls" $values.nats.tls "file" "nats" "env" "NATS") -}}
{{- end -}}
{{- if has .role (list "ingest" "matcher" "migrate") -}}
{{- include "heliograph.addCredential" (dict "list" $list "given" $values.scylla.auth.password "key" "password" "file" "scylla-password" "env" "SCYLLA_PASSWORD_FILE") -}}
{{- include "heliograph.addTls" (dict "list" $list "tls" $values.scylla.tls "file" "scylla" "env" "SCYLLA") -}}
{{- end -}}
{{- if has .role (list "gateway" "matcher") -}}
{{- include "heliograph.addTls" (dict "list" $list "tls" $values.matcher.tls "file" "matcher" "env" "MATCHER") -}}
{{- end -}}
{{- if has .role (list "canary" "test") -}}
{{- include "heliograph.addCredential" (dict "list" $list "given" $values.canary.secretKey "key" "secret-key" "file" "canary-secret-key" "env" "CANARY_SECRET_KEY_FILE") -}}
{{- include "heliograph.addTls" (dict "list" $list "tls" $values.canary.tls "file" "canary" "env" "CANARY") -}}
{{- end -}}
{{- if has .role (list "standalone" "gateway" "ingest" "matcher" "canary") -}}
{{- include "heliograph.addCredential" (dict "list" $list "given" $values.traces.headers "key" "headers" "file" "traces-headers" "env" "TRACES_HEADERS_FILE") -}}
{{- include "heliograph.addTls" (dict "list" $list "tls" $values.traces.tls "file" "traces" "env" "TRACES") -}}
{{- end -}}
{{- toJson $list.items -}}
{{- end -}}

{{/* The Secret of a role: what was given in the values. Takes root, role and annotations. */}}
{{- define "heliograph.secret" -}}
{{- $data := dict -}}
{{- range include "heliograph.credentials" . | fromJsonArray -}}
{{- if .value }}{{ $_ := set $data .file .value }}{{ end -}}
{{- end -}}
{{- if $data -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "heliograph.metadata" (dict "root" .root "suffix" .role "role" .role "annotations" .annotations) | nindent 2 }}
type: Opaque
data:
  {{- range $file, $value := $data }}
  {{ $file }}: {{ $value | b64enc }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* The folder of a role, as a volume. */}}
{{- define "heliograph.credentialsVolume" -}}
{{- $own := printf "%s-%s" (include "heliograph.fullname" .root) .role -}}
- name: credentials
  projected:
    defaultMode: 288 # 0440: the program's group may read
    sources:
      {{- range include "heliograph.credentials" . | fromJsonArray }}
      - secret:
          name: {{ .secret | default $own }}
          items:
            - { key: {{ .key | default .file }}, path: {{ .file }} }
      {{- end }}
{{- end -}}

{{/* Names of logins, and where the files are. */}}
{{- define "heliograph.credentialsEnv" -}}
{{- if has .role (list "gateway" "ingest" "matcher") }}
{{- with (include "heliograph.natsAuth" . | fromJson).username }}
- name: HELIOGRAPH_NATS_USERNAME
  value: {{ quote . }}
{{- end }}
{{- end }}
{{- if has .role (list "ingest" "matcher" "migrate") }}
{{- with .root.Values.scylla.auth.username }}
- name: HELIOGRAPH_SCYLLA_USERNAME
  value: {{ quote . }}
{{- end }}
{{- end }}
{{- $dir := include "heliograph.credentialsDir" . }}
{{- range include "heliograph.credentials" . | fromJsonArray }}
- name: HELIOGRAPH_{{ .env }}
  value: {{ printf "%s/%s" $dir .file }}
{{- end }}
{{- end -}}
