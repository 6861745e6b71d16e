"""Sends everyone what the host says, and a newcomer the newest of it."""

import os

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of a measurement",
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    },
)
django.setup()


class Room(AsyncWebsocketConsumer):
    newest = os.environ["FIRST_MESSAGE"]

    async def connect(self):
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard("room", self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "hello":
            await self.send(text_data=Room.newest)
        else:
            Room.newest = text_data
            await self.channel_layer.group_send("room", {"type": "state", "text": text_data})

    async def state(self, event):
        await self.send(text_data=event["text"])


application = ProtocolTypeRouter({"websocket": Room.as_asgi()})
