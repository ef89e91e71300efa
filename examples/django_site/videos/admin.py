from django.contrib import admin

from .models import Video


@admin.register(Video)
class VideoAdmin(admin.ModelAdmin):
    list_display = ("title", "owner", "visibility", "created")
    list_filter = ("visibility", "created")
    search_fields = ("title", "description", "owner__username")
