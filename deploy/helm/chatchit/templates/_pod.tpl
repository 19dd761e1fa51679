{{/* What both programs have in common. Arguments: (list $ "gateway"). */}}

{{- define "chatchit.podSettings" -}}
{{- $root := index . 0 -}}
{{- $program := index $root.Values (index . 1) -}}
serviceAccountName: {{ include "chatchit.serviceAccount" $root }}
automountServiceAccountToken: false
# A Service called like a peer would set variables that the programs read, to something else.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $program.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
{{- if $program.topologySpreadConstraints }}
{{- toYaml $program.topologySpreadConstraints | nindent 2 }}
{{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "chatchit.selector" . | nindent 8 }}
{{- end }}
{{- end -}}

{{- define "chatchit.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* The admin port opens when the peers have answered, so the start may take a while. Alive means alive: a peer that is
away makes a pod not ready, and killing it would help nobody. */}}
{{- define "chatchit.probes" -}}
startupProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 2
  failureThreshold: 90
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
{{- end -}}

{{- define "chatchit.fromSecret" -}}
{{- $root := index . 0 -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "chatchit.secret" $root }}
      key: {{ index . 1 }}
{{- end -}}

{{- define "chatchit.env" -}}
{{- $root := index . 0 -}}
{{- $program := index $root.Values (index . 1) -}}
{{ include "chatchit.fromSecret" (list $root "AMQP_URL") }}
{{ include "chatchit.fromSecret" (list $root "REDIS_NODES") }}
{{ include "chatchit.fromSecret" (list $root "REDIS_PASSWORD") }}
      optional: true
{{ include "chatchit.fromSecret" (list $root "JWT_ACCESS_TOKEN") }}
- name: CHATCHIT_PREFIX
  value: {{ $root.Values.prefix | quote }}
- name: CHATCHIT_QUEUES
  value: {{ $root.Values.queues | quote }}
- name: ADMIN_BIND
  value: {{ $root.Values.bind | quote }}
- name: LOG_FORMAT
  value: json
{{- range $name, $value := $program.env }}
- name: {{ $name }}
  {{- /* A number as it was written: 1000000, not 1e+06. */}}
  value: {{ (kindIs "float64" $value | ternary ($value | int64) $value) | quote }}
{{- end }}
{{- end -}}

{{/* Pods start again when the Secret that the chart made is another one. */}}
{{- define "chatchit.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $program := index $root.Values (index . 1) -}}
labels:
  {{- include "chatchit.labels" . | nindent 2 }}
  {{- with $program.podLabels }}{{ toYaml . | nindent 2 }}{{ end }}
{{- if or $root.Values.secret.create $program.podAnnotations }}
annotations:
  {{- if $root.Values.secret.create }}
  checksum/secret: {{ $root.Values.secret.values | toJson | sha256sum }}
  {{- end }}
  {{- with $program.podAnnotations }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end }}
{{- end -}}
