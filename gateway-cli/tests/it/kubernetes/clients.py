# The Python client against the API at argv[1], with the authority argv[2] and the token argv[3].
import base64, sys
from kubernetes import client, watch
from kubernetes.stream import stream

settings = client.Configuration(host=sys.argv[1])
settings.ssl_ca_cert = sys.argv[2]
settings.api_key = {"authorization": "Bearer " + sys.argv[3]}
api = client.CoreV1Api(client.ApiClient(settings))

print("pods", *[pod.metadata.name for pod in api.list_namespaced_pod("shop").items])
secret = api.read_namespaced_secret("database", "shop")
print("secret", "masked" if b"masked" in base64.b64decode(secret.data["password"]) else "CLEAR")
basket = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="basket"), data={"fruit": "apple"})
print("created", api.create_namespaced_config_map("shop", basket).metadata.name)
patched = api.patch_namespaced_config_map("basket", "shop", {"data": {"fruit": "pear"}})
print("patched", patched.data["fruit"])
for event in watch.Watch().stream(api.list_namespaced_config_map, "shop", timeout_seconds=5):
    if event["object"].metadata.name == "basket":
        print("watch", event["type"], "basket")
        break
print("log", api.read_namespaced_pod_log("web", "shop").splitlines()[0])
said = stream(api.connect_get_namespaced_pod_exec, "web", "shop", command=["echo", "hello", "world"],
              stdin=False, stdout=True, stderr=True, tty=False)
print("exec", said.strip())
try:
    client.RbacAuthorizationV1Api(api.api_client).create_namespaced_role(
        "shop", client.V1Role(metadata=client.V1ObjectMeta(name="all"), rules=[]))
except client.ApiException as error:
    print("denied", error.status, error.reason)
