{{- define "vigie.labels" -}}
app.kubernetes.io/name: vigie
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "vigie.selector" -}}
app.kubernetes.io/name: vigie
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "vigie.tag" -}}
{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "vigie.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "vigie.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "vigie.database" -}}
- name: VIGIE_DATABASE__URL
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secrets.database }}, key: {{ .login }}-url}}
- {name: PGSSLMODE, value: verify-full}
- {name: PGSSLROOTCERT, value: /certificates/database/ca.crt}
{{- end }}

{{- define "vigie.settings" -}}
{{- $secret := .Values.secrets.program }}
- {name: VIGIE_API__PUBLIC_URL, value: {{ printf "https://%s" .Values.domain | quote }}}
- {name: VIGIE_BROKER__HOST, value: {{ .Release.Name }}-broker}
- {name: VIGIE_BROKER__PORT, value: "8884"}
- {name: VIGIE_BROKER__TLS__ENABLED, value: "true"}
- {name: VIGIE_BROKER__TLS__CA_FILE, value: /certificates/broker/ca.crt}
- {name: VIGIE_BROKER__PUBLIC_HOST, value: {{ .Values.domain | quote }}}
- {name: VIGIE_BROKER__PUBLIC_PORT, value: "8883"}
- {name: VIGIE_BROKER__PUBLIC_TLS, value: "true"}
- name: VIGIE_BROKER__PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: broker-password}}
- name: VIGIE_INGEST__CLIENT_ID
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: ingest-client-id}}
- name: VIGIE_API__METRICS_TOKEN
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: metrics-token}}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "vigie.encryption" -}}
- name: VIGIE_ENCRYPTION__KEYS
  valueFrom: {secretKeyRef: {name: {{ .Values.secrets.program }}, key: encryption-keys}}
{{- end }}

{{- define "vigie.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: database-ca, mountPath: /certificates/database, readOnly: true}
- {name: broker-ca, mountPath: /certificates/broker, readOnly: true}
{{- end }}

{{- define "vigie.volumes" -}}
- {name: tmp, emptyDir: {medium: Memory, sizeLimit: 256Mi}}
- {name: database-ca, secret: {secretName: {{ .Values.secrets.databaseCa }}, items: [{key: ca.crt, path: ca.crt}]}}
- {name: broker-ca, secret: {secretName: {{ .Values.secrets.broker }}, items: [{key: ca.crt, path: ca.crt}]}}
{{- end }}

{{- define "vigie.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "vigie.selector" . | nindent 8 }}
{{- end }}

{{- define "vigie.health" -}}
ports: [{name: metrics, containerPort: 9100}]
startupProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 2, failureThreshold: 60}
livenessProbe: {httpGet: {path: /healthz, port: metrics}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
{{- end }}
