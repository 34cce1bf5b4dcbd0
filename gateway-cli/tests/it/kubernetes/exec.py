# Exec over v4.channel.k8s.io, the newest that API server 1.20 speaks.
import sys
from kubernetes import client
from kubernetes.stream import stream

settings = client.Configuration(host=sys.argv[1])
settings.ssl_ca_cert = sys.argv[2]
settings.api_key = {"authorization": "Bearer " + sys.argv[3]}
api = client.CoreV1Api(client.ApiClient(settings))
said = stream(api.connect_get_namespaced_pod_exec, "web", "shop", command=["echo", "hello from a pod"],
              stdin=False, stdout=True, stderr=True, tty=False)
print(said.strip())
